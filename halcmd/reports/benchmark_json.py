"""The numbers of a benchmark as JSON; None where a number cannot be told."""

import numpy as np

from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    UNKNOWN_EFFICIENCY,
    Difference,
    mean_and_sd,
    reach_bound,
    whole_labels,
)
from halcmd.reports.findings import CURVED, MEASURES, Findings
from halcmd.reports.standings import (
    TARGETS,
    Pair,
    Standing,
    beats,
    pairs_of,
    ranks_over_seeds,
    standings,
)


def summary_of(findings: Findings) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "labels": list(findings.labels),
        "seeds": list(findings.seeds),
        "strategies": _curves(findings, 0),
        "standard_deviations": _curves(findings, 1),
        "full": {measure: _number(findings.full(measure)) for measure in CURVED},
        "full_seeds": int(np.isfinite(findings.ceiling[next(iter(MEASURES))]).sum()),
        "friedman_p": {m: _probability(ranks_over_seeds(findings, m)[1]) for m in MEASURES},
        "nemenyi_gap": {m: _number(ranks_over_seeds(findings, m)[2]) for m in MEASURES},
        "classes": findings.by_class.summary(),
        "seconds": {
            name: {"train": _number(each.train), "query": _number(each.query)}
            for name, each in findings.seconds.items()
        },
        "standings": {
            measure: {
                each.strategy: _standing(each, findings) for each in standings(findings, measure)
            }
            for measure in MEASURES
        },
        "pairs": {
            measure: [_pair(each) for each in pairs_of(findings, measure)] for measure in MEASURES
        },
        "beats": {measure: _who_beats(findings, measure) for measure in MEASURES},
    }


def _curves(findings: Findings, which: int) -> dict[str, dict[str, list[float | None]]]:
    """Means (0) or standard deviations (1) at each point: strategy -> measure -> values."""
    return {
        name: {
            measure: [
                _number(value) for value in mean_and_sd(findings.values(measure, name))[which]
            ]
            for measure in CURVED
        }
        for name in findings.strategies
    }


def _standing(each: Standing, findings: Findings) -> dict[str, object]:
    of = each.efficiency or UNKNOWN_EFFICIENCY
    shares = [f"{share:g}" for share in TARGETS]
    return {
        "seeds": each.seeds,
        "final": _number(each.final),
        "area": _number(each.area),
        "log_area": _number(each.log_area),
        "labels_to": dict(zip(shares, map(_number, map(whole_labels, each.reach)), strict=True)),
        "labels_to_is": {
            share: reach_bound(findings.labels, labels)
            for share, labels in zip(shares, each.reach, strict=True)
        },
        "label_efficiency": _number(of.factor),
        "label_efficiency_is": of.bound,
        "mean_rank": _number(each.rank),
        "area_minus_random": _number((each.difference or NO_PAIRS).mean),
        **_told(each.difference or NO_PAIRS, each.p, each.words),
    }


def _pair(each: Pair) -> dict[str, object]:
    return {
        "strategies": [each.ours, each.theirs],
        "area_difference": _number(each.difference.mean),
        **_told(each.difference, each.p, each.words),
    }


def _told(found: Difference, p: float, words: str) -> dict[str, object]:
    return {
        "interval": [_number(found.low), _number(found.high)],
        "pairs": found.pairs,
        "p": _probability(p),
        "in_words": words,
    }


def _who_beats(findings: Findings, measure: str) -> dict[str, dict[str, float | None]]:
    """Strategy -> another one -> share of the points at which the first one is better."""
    names = findings.strategies
    return {
        ours: {t: _number(value) for t, value in zip(names, row, strict=True) if t != ours}
        for ours, row in zip(names, beats(findings, measure), strict=True)
    }


def _probability(p: float) -> float | None:
    return float(f"{p:.3g}") if np.isfinite(p) else None


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
