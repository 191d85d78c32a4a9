"""Which particles to ask for: one file per strategy, named here once.

A strategy is a module with ``NEEDS`` (what it looks at besides the candidates themselves: a set of
``probabilities``, ``answered_probabilities``, ``labels``, ``answers``, ``embeddings``,
``features``, ``passes``, ``boxes``; see ``halcmd.strategies.pool.Pool``), ``RANKS`` (whether it
ranks by one score, which chance can then be mixed with) and one pure function of arrays,
``select(pool, n, settings) -> Selection``. Its own parameters, if any, are a dataclass
``Options``. The parametrised contract in ``tests/strategies/test_contract.py`` runs over this
dictionary, and so do the choices of ``halcmd query --strategy``. The words that its other options
take stand here too, so that the command line can offer them without loading a strategy.
"""

STRATEGIES = {
    "hal": "halcmd.strategies.hal",
    "random": "halcmd.strategies.random",
    "entropy": "halcmd.strategies.entropy",
    "margin": "halcmd.strategies.margin",
    "least-confidence": "halcmd.strategies.least_confidence",
    "power-margin": "halcmd.strategies.power_margin",
    "coreset": "halcmd.strategies.coreset",
    "badge": "halcmd.strategies.badge",
    "bald": "halcmd.strategies.bald",
    "bgal": "halcmd.strategies.bgal",
    "ee-bmal": "halcmd.strategies.ee_bmal",
    "vaal": "halcmd.strategies.vaal",
    "dal": "halcmd.strategies.dal",
    "typiclust": "halcmd.strategies.typiclust",
    "tcm": "halcmd.strategies.tcm",
    "cluster-margin": "halcmd.strategies.cluster_margin",
    "direct": "halcmd.strategies.direct",
    "dropquery": "halcmd.strategies.dropquery",
}

PRESETS = ("default", "paper", "code")
ENTROPY_NORMS = ("none", "log", "rank")
DISCRIMINATORS = ("conv", "mlp")
# What a strategy learns from or computes with a network: it needs a device.
LEARNING = frozenset({"features", "embeddings", "passes", "boxes"})
