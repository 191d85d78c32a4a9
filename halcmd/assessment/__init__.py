"""How good predictions are, how they change from round to round, and when to stop."""
