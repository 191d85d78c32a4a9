"""Which particles to ask for: one file per strategy, named here once.

A strategy is a module with ``NEEDS`` (what it looks at besides the candidates themselves: a set of
``probabilities``, ``features``, ``answers``) and one pure function of arrays,
``select(pool, n, settings) -> Selection``. The parametrised contract in
``tests/strategies/test_contract.py`` runs over this dictionary, and so do the choices of
``halcmd query --strategy``. The words that its other options take stand here too, so that the
command line can offer them without loading a strategy.
"""

STRATEGIES = {
    "hal": "halcmd.strategies.hal",
    "random": "halcmd.strategies.random",
    "entropy": "halcmd.strategies.entropy",
    "margin": "halcmd.strategies.margin",
}

PRESETS = ("default", "paper", "code")
ENTROPY_NORMS = ("none", "log", "rank")
DISCRIMINATORS = ("conv", "mlp")
