"""The tables of curves.star: every number of a benchmark's page."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    UNKNOWN_EFFICIENCY,
    Difference,
    mean_and_sd,
    reach_bound,
    whole_labels,
)
from halcmd.formats.star import Star, Table, text_of
from halcmd.reports.findings import CURVED, MEASURES, Findings
from halcmd.reports.standings import TARGETS, beats, pairs_of, ranks_over_seeds, standings

Floats = NDArray[np.float64]


def curve_tables(findings: Findings, main: str) -> Star:
    """All tables; who beats whom at how many points by the ``main`` measure."""
    return Star(
        (
            _points(findings),
            *_summaries(findings),
            _overall(findings),
            *_pairs(findings),
            _who_beats(findings, beats(findings, main)),
            _classes(findings),
            _queries(findings),
        )
    )


def _points(findings: Findings) -> Table:
    """A row per strategy and number of labels."""
    columns: dict[str, list[str]] = {"halStrategy": [], "halLabels": []}
    for name in findings.strategies:
        columns["halStrategy"] += [name] * len(findings.labels)
        columns["halLabels"] += [str(n) for n in findings.labels]
    for measure in CURVED:
        title = "".join(word.capitalize() for word in measure.split("_"))
        values = [findings.values(measure, name) for name in findings.strategies]
        means, spreads, _ = (
            np.concatenate(each) for each in zip(*map(mean_and_sd, values), strict=True)
        )
        columns[f"hal{title}"] = text_of(means, 4)
        columns[f"hal{title}Sd"] = text_of(spreads, 4)
    return Table.from_columns("curves", columns)


def _summaries(findings: Findings) -> Iterator[Table]:
    """A table per measure with what report.html lists."""
    for measure in MEASURES:
        found = standings(findings, measure)
        pairs = [each.difference or NO_PAIRS for each in found]
        saved = [each.efficiency or UNKNOWN_EFFICIENCY for each in found]
        reach = np.array([each.reach for each in found])
        columns: dict[str, list[str]] = {
            "halStrategy": [each.strategy for each in found],
            "halSeeds": [str(each.seeds) for each in found],
            "halFinal": text_of([each.final for each in found], 4),
            "halArea": text_of([each.area for each in found], 4),
            "halAreaLog": text_of([each.log_area for each in found], 4),
        }
        for share, labels in zip(TARGETS, reach.T, strict=True):
            name = f"halLabelsTo{100 * share:.0f}"
            columns[name] = [f"{whole_labels(n):.0f}" for n in labels]
            columns[f"{name}Bound"] = [reach_bound(findings.labels, n) for n in labels]
        columns |= {
            "halLabelEfficiency": text_of([each.factor for each in saved], 3),
            "halLabelEfficiencyBound": [each.bound for each in saved],
            "halMeanRank": text_of([each.rank for each in found], 3),
            **_differences(pairs, [each.p for each in found]),
            "halInWords": [each.words or "none" for each in found],
        }
        yield Table.from_columns(f"summary_{measure}", columns)


def _differences(pairs: Sequence[Difference], p_values: Sequence[float]) -> dict[str, list[str]]:
    return {
        "halDifference": text_of([each.mean for each in pairs], 4),
        "halDifferenceLow": text_of([each.low for each in pairs], 4),
        "halDifferenceHigh": text_of([each.high for each in pairs], 4),
        "halPairs": [str(each.pairs) for each in pairs],
        "halPHolm": [f"{p:.3g}" for p in p_values],
    }


def _pairs(findings: Findings) -> Iterator[Table]:
    """A table per measure: the area of each strategy minus that of each later one."""
    for measure in MEASURES:
        found = pairs_of(findings, measure)
        columns = {
            "halStrategy": [each.ours for each in found],
            "halOtherStrategy": [each.theirs for each in found],
            **_differences([each.difference for each in found], [each.p for each in found]),
            "halInWords": [each.words for each in found],
        }
        yield Table.from_columns(f"pairs_{measure}", columns)


def _overall(findings: Findings) -> Table:
    """A row per measure: full supervision, and whether the ranks of the strategies differ."""
    measures = CURVED
    tests = [ranks_over_seeds(findings, measure)[1:] for measure in MEASURES]
    tests.append((np.nan, np.nan))  # a small error is no merit to be ranked by
    seeds = [np.isfinite(findings.ceiling[measure]).sum() for measure in measures]
    columns = {
        "halMeasure": [*measures],
        "halFullSupervision": text_of([findings.full(measure) for measure in measures], 4),
        "halSeeds": [str(count) for count in seeds],
        "halFriedmanP": [f"{p:.3g}" for p, _ in tests],
        "halNemenyiGap": text_of([gap for _, gap in tests], 3),
    }
    return Table.from_columns("overall", columns)


def _who_beats(findings: Findings, shares: Floats) -> Table:
    """A row per pair of strategies: the share of the points at which the first one is better."""
    names = findings.strategies
    pairs = [(row, column) for row in range(len(names)) for column in range(len(names))]
    pairs = [(row, column) for row, column in pairs if row != column]
    columns = {
        "halBetter": [names[row] for row, _ in pairs],
        "halWorse": [names[column] for _, column in pairs],
        "halShareOfPoints": text_of([shares[pair] for pair in pairs], 3),
    }
    return Table.from_columns("penalty", columns)


def _classes(findings: Findings) -> Table:
    """A row per strategy and class: how often it was asked for, and its recall in the end."""
    found = findings.by_class
    columns = {
        "halStrategy": [name for name in found.asked for _ in found.classes],
        "halLabel": [each for _ in found.asked for each in found.classes],
        "halAskedShare": text_of(np.concatenate([*found.asked.values()]), 4),
        "halRecall": text_of(np.concatenate([*found.recall.values()]), 4),
    }
    return Table.from_columns("classes", columns)


def _queries(findings: Findings) -> Table:
    """A row per strategy: how even its queries were, and how long it took."""
    names = [*findings.by_class.asked]
    seconds = [findings.seconds[name] for name in names]
    columns = {
        "halStrategy": names,
        "halEvenness": text_of([findings.by_class.evenness[name] for name in names], 4),
        "halTrainSeconds": text_of([each.train for each in seconds], 2),
        "halQuerySeconds": text_of([each.query for each in seconds], 2),
    }
    return Table.from_columns("queries", columns)
