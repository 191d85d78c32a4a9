"""What makes a benchmark as hard as real picks: rare classes, junk, copies, wrong answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd.chance import generator, keyed_uniform
from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.mrc_writing import stack_names
from halcmd.particles import JUNK, Particles
from halcmd.subtomograms import image_names

AGAIN = "-again"  # after the halParticleId of a second pick


@dataclass(frozen=True)
class Stress:
    """Changes of the pool; test particles stay as they are.

    Attributes
    ----------
    imbalance : float
        How many times as frequent the most frequent class is as the rarest; classes in between
        follow a geometric series, in a random order. 0 = as they come.
    junk : float
        Share of the pool that is of the class ``junk``. 0 = as it comes.
    duplicates : float
        Share of the pool that is there twice, under another halParticleId.
    label_noise : float
        Share of the answers that are wrong, each any other class.
    duplicate_shift : float or None
        Angstrom from a particle to its second pick; None = a tenth of the box, 0 = the same voxels.
    """

    imbalance: float = 0.0
    junk: float = 0.0
    duplicates: float = 0.0
    label_noise: float = 0.0
    duplicate_shift: float | None = None

    @property
    def moves(self) -> bool:
        """Whether second picks have boxes of their own."""
        return bool(self.duplicates) and self.duplicate_shift != 0


def stressed(
    particles: Particles, stress: Stress, *, seed: int, copies: Path | None = None
) -> Particles:
    """The table with its pool changed.

    Parameters
    ----------
    particles : Particles
        Labelled with the truth, split.
    stress : Stress
    seed : int
    copies : Path, optional
        A stack that has, or will have, the boxes of second picks. Default: they are the same ones.

    Raises
    ------
    InputError
        Junk is asked for and there is none, or not enough.
    """
    rows = np.flatnonzero(~particles.is_test)
    rows = rows[np.argsort(keyed_uniform(seed, "stress", particles.ids[rows]))]
    if stress.imbalance:
        rows = _imbalanced(particles, rows, stress.imbalance, seed)
    if stress.junk:
        rows = _with_junk(particles, rows, stress.junk)
    kept = np.sort(np.concatenate([rows, np.flatnonzero(particles.is_test)]))
    table = particles.take(kept) if len(kept) < len(particles) else particles
    return _with_duplicates(table, stress.duplicates, seed, copies) if stress.duplicates else table


def annotated(
    truth: NDArray[np.object_], ids: NDArray[np.object_], stress: Stress, *, seed: int
) -> NDArray[np.object_]:
    """What the annotator answers for each particle: the truth, but for the share that is wrong."""
    if not stress.label_noise:
        return truth
    classes = np.array(sorted(set(truth)), dtype=object)
    is_wrong = keyed_uniform(seed, "wrong answers", ids) < stress.label_noise
    other = (keyed_uniform(seed, "which answer", ids) * (len(classes) - 1)).astype(int)
    places = np.searchsorted(classes.astype(str), truth.astype(str))
    return np.where(is_wrong, classes[(places + 1 + other) % len(classes)], truth)


def _imbalanced(
    particles: Particles, rows: NDArray[np.intp], ratio: float, seed: int
) -> NDArray[np.intp]:
    """As many rows as classes of these shares allow, in the order given; junk is no class here."""
    labels = particles.labels[rows]
    classes = np.array(sorted(set(labels) - {JUNK}), dtype=object)
    shares = np.geomspace(1.0, 1.0 / ratio, len(classes))
    shares = generator(seed, "imbalance").permutation(shares)
    there = np.array([(labels == name).sum() for name in classes])
    largest = (there / shares).min()
    kept = [rows[labels == JUNK]]
    for name, share in zip(classes, shares, strict=True):
        kept.append(rows[labels == name][: max(round(share * largest), 1)])
    return np.concatenate(kept)


def _with_junk(particles: Particles, rows: NDArray[np.intp], share: float) -> NDArray[np.intp]:
    """Fewer rows of junk, or of everything else, so that junk has its share."""
    is_junk = particles.labels[rows] == JUNK
    junk, others = rows[is_junk], rows[~is_junk]
    if not len(junk) or not len(others):
        raise InputError(
            "there is no junk to be had",
            where=str(particles.path),
            found=f"{len(junk):,} of {len(rows):,} particles of the pool are labelled junk",
            hint="halcmd simulate --junk 0.3 makes some",
        )
    wanted = share / (1.0 - share)
    if len(junk) > wanted * len(others):
        junk = junk[: max(round(wanted * len(others)), 1)]
    else:
        fewer = round(len(junk) / wanted)
        log.info(f"{fewer:,} of {len(others):,} particles that are no junk, for the share of junk")
        others = _spread(particles, others, fewer)
    return np.concatenate([junk, others])


def _spread(particles: Particles, rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """So many rows with the same shares of the classes."""
    labels = particles.labels[rows]
    place = np.zeros(len(rows))
    for name in set(labels):
        members = labels == name
        place[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    return rows[np.sort(np.argsort(place, kind="stable")[:count])]


def _with_duplicates(
    particles: Particles, share: float, seed: int, copies: Path | None
) -> Particles:
    """The table with rows of the pool repeated at its end, with boxes of that stack if there is."""
    pool = np.flatnonzero(~particles.is_test)
    count = round(share * len(pool))
    order = np.argsort(keyed_uniform(seed, "duplicates", particles.ids[pool]))
    again = pool[order[:count]]
    table = particles.take(np.concatenate([np.arange(len(particles)), again]))
    columns = {"halParticleId": [*particles.ids, *(f"{n}{AGAIN}" for n in particles.ids[again])]}
    if copies is not None:
        columns["halImageName"] = [*image_names(particles), *stack_names(copies, count)]
    return table.with_columns(columns)
