"""Discriminative active learning, HAL's ancestor: ask for what looks unlike the labelled."""

from dataclasses import replace

import numpy as np

from halcmd.networks.discriminator import RECIPES
from halcmd.strategies import hal
from halcmd.strategies.pool import Pool, QuerySettings, Rows, Selection

NEEDS = frozenset({"embeddings", "answers"})
RANKS = True

_CANDIDATES_PER_LABEL = 10


def select(pool: Pool, n: int, settings: QuerySettings) -> Selection:
    """The candidates likeliest to be unlabelled, by their embeddings, taken in subsets.

    That is ``hal`` with dense layers alone, on the penultimate vector instead of the maps, without
    entropy, among 10 candidates per answered particle drawn anew for each subset.

    Parameters
    ----------
    pool : Pool
        Uses ``embeddings`` and ``answered``.
    n : int
        How many to choose.
    settings : QuerySettings
        ``preset`` and ``subsets``; its paper has 20 of them.

    Returns
    -------
    Selection
        As of ``hal``.

    References
    ----------
    Gissin & Shalev-Shwartz 2019 (1907.06347); dsgissin/DiscriminativeActiveLearning.
    """
    embeddings = pool.embeddings
    assert embeddings is not None

    def as_maps(rows: Rows) -> np.ndarray:
        return np.asarray(embeddings(rows))[:, :, None, None, None]

    recipe = replace(RECIPES[settings.preset], candidates_per_label=_CANDIDATES_PER_LABEL)
    plain, dense = replace(pool, features=as_maps), replace(settings, discriminator="mlp")
    return hal.select_with(plain, n, dense, recipe, np.zeros(len(pool)))
