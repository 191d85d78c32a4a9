"""The command line. Typer only: each file turns options into one call of a step."""
