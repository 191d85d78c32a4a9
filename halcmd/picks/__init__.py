"""Picks of any program, the tomograms that they are in, and where in these they lie."""
