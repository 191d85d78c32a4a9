"""Labels that are perhaps wrong, as networks say that have not seen them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from halcmd.errors import InputError
from halcmd.formats.star import text_of
from halcmd.particles import UNLABELLED, Particles

NOT_SUSPECTED = "none"
DOUBTS = {"halLabelProbability": "nan", "halSuspectedClass": NOT_SUSPECTED}
"""Columns that train writes, with what stands in them where nothing is known."""
ASKED_AGAIN = "relabel"
"""halQueryStrategy of particles that have a label and were asked again."""

Rows = NDArray[np.intp]


def confident_classes(probabilities: NDArray[np.float64], labels: Rows) -> Rows:
    """The class that each label should perhaps be; -1 where the label is not suspected.

    A class is confident of a particle where its probability reaches the mean that it has among the
    particles of that label. A label is suspected where the likeliest of the confident classes is
    another one and the label is not the likeliest class of all.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_classes), float64
        Of networks that were not trained on these particles.
    labels : ndarray, shape (n,), int
        Class of each as it was labelled.

    References
    ----------
    Northcutt et al. 2021 (1911.00068), confident joint and its off-diagonal; cleanlab's
    ``find_label_issues(filter_by="confident_learning")``.
    """
    every = np.arange(len(labels))
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    own = np.bincount(labels, probabilities[every, labels], minlength=len(counts))
    # A class without labels has no threshold, and is never confident.
    thresholds = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds - 1e-6, probabilities, -1.0)
    found = confident.argmax(axis=1)
    suspected = (confident.max(axis=1) >= 0) & (found != labels)
    suspected &= probabilities.argmax(axis=1) != labels
    return np.where(suspected, found, -1).astype(np.intp)


def with_doubts(
    particles: Particles,
    rows: Rows,
    labels: Rows,
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
) -> Particles:
    """The table with the columns that train owns: what networks say that have not seen the label.

    Parameters
    ----------
    particles : Particles
        Columns of an earlier train are replaced.
    rows : ndarray, shape (n,), int
        Labelled rows that were held out; where there are none, the columns are left out.
    labels : ndarray, shape (n,), int
        Their classes, as places in ``classes``.
    probabilities : ndarray, shape (n, n_classes), float64
        Calibrated, of networks that were not trained on the row.
    classes : sequence of str
        Class names.
    """
    if not len(rows):
        return particles.with_columns({}, owner="train")
    suspected = confident_classes(probabilities, labels)
    own = np.full(len(particles), np.nan)
    own[rows] = probabilities[np.arange(len(rows)), labels]
    names = np.full(len(particles), NOT_SUSPECTED, dtype=object)
    names[rows] = [classes[place] if place >= 0 else NOT_SUSPECTED for place in suspected]
    texts = {"halLabelProbability": text_of(own, 4), "halSuspectedClass": names.tolist()}
    return particles.with_columns(texts, owner="train")


def suspected_rows(particles: Particles) -> Rows:
    """Rows whose label is suspected to be wrong, the least probable label first.

    Raises
    ------
    InputError
        The table has no columns of train.
    """
    if not particles.has("halSuspectedClass"):
        raise InputError(
            "nothing is known of wrong labels in this table",
            where=str(particles.path),
            found="no column halSuspectedClass",
            hint="halcmd train, then score with --i TRAIN/particles.star",
        )
    named = particles.text("halSuspectedClass")
    is_suspected = (named != NOT_SUSPECTED) & (named != particles.labels)
    rows = np.flatnonzero(is_suspected & (particles.labels != UNLABELLED) & ~particles.is_test)
    ids = particles.ids[rows].astype(str)
    order = np.lexsort((ids, particles.number("halLabelProbability")[rows]))
    return np.asarray(rows[order], dtype=np.intp)
