"""Fitting a network: recipe, batches, validation, and the loop that all fits share."""
