"""halcmd finds the cryo-ET subtomograms worth labelling."""

__version__ = "0.1.0"
