"""What a job shows of itself to a person: which plots, of which particles, in what words."""
