"""The pages of a benchmark: tables, curves, and what they mean in words."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.benchmarking.learning_curves import (
    NO_PAIRS,
    NOT_REACHED,
    SIGNIFICANT,
    Difference,
    band,
    checkpoints,
    in_words,
    mean_and_sd,
    penalties,
)
from halcmd.console import log
from halcmd.formats.curve_plots import Panel, plot_curves, plot_penalties
from halcmd.formats.report import Listing, Picture, write_report
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.reports.findings import (
    MEASURES,
    RANDOM,
    TARGETS,
    Findings,
    compared,
    ranks_over_seeds,
    standings,
)
from halcmd.reports.wording import plural
from halcmd.tables import running

_MAIN = "balanced_accuracy"
_NEVER = "\N{EN DASH}"
_HOW_TO_READ = (
    "end: at the last point; area: under the curve, over labels and over their logarithm; 90% to"
    " 99%: labels to that share of full supervision (\N{EN DASH} = never); fewer: times as many"
    " labels random choice needs to 95%; rank: mean over the seeds"
)

Floats = NDArray[np.float64]


def write_benchmark_report(
    folder: Path, findings: Findings, *, setup: Mapping[str, str], seed: int
) -> None:
    """Write curves.star, curves.png, penalty.png and report.html; say the gist in the log.

    ``setup`` says in words what was done.
    """
    main, now = compared(findings, _MAIN), running.get()
    beaten = _penalties(findings)
    tables = [_points(findings), *_summaries(findings), _overall(findings)]
    write_star(folder / "curves.star", Star((*tables, _beaten(findings, beaten))))
    plot_curves(
        folder / "curves.png", [panel(findings, each, title) for each, title in MEASURES.items()]
    )
    plot_penalties(folder / "penalty.png", beaten, findings.strategies)
    write_report(
        folder / "report.html",
        title="Benchmark of strategies",
        summary=_gist(findings, main),
        facts=_facts(findings, setup),
        pictures=[
            Picture(
                folder / "curves.png",
                "Learning curves",
                "Mean over the seeds on the test particles; bands are 95 % intervals of the mean."
                " The dashed line is full supervision.",
            ),
            Picture(
                folder / "penalty.png",
                "Who beats whom",
                f"Share of the points at which the row's strategy has a significantly higher"
                f" {MEASURES[_MAIN]} than the column's (paired t test, p < 0.05).",
            ),
        ],
        listings=[_listing(findings, measure) for measure in MEASURES],
        provenance={"halcmd": __version__, "seed": str(seed)}
        | ({} if now is None else {"command": now.command}),
    )
    log.info(_gist(findings, main))
    for name, (found, p) in main.items():
        log.info(
            f"  {name}: area under {MEASURES[_MAIN]} against random"
            f" {_with_interval(found)}: {in_words(found, p)}"
        )


def panel(findings: Findings, measure: str, title: str) -> Panel:
    """The learning curves of one measure, to be drawn."""
    curves = {name: band(findings.values(measure, name)) for name in findings.strategies}
    return Panel(title, findings.labels, curves, findings.full(measure))


def _gist(findings: Findings, main: Mapping[str, tuple[Difference, float]]) -> str:
    better = [name for name, (found, p) in main.items() if in_words(found, p) == "better"]
    full = findings.full(_MAIN)
    said = (
        f"better than random choice: {', '.join(better)}"
        if better
        else ("no strategy is shown to be better than random choice")
    )
    return (
        f"{plural(len(findings.strategies), 'strategy', 'strategies')},"
        f" {plural(len(findings.seeds), 'seed')},"
        f" {findings.labels[0]:,} to {findings.labels[-1]:,} labels; {said}."
        f" Full supervision has a {MEASURES[_MAIN]} of {full:.3f}."
    )


def _facts(findings: Findings, setup: Mapping[str, str]) -> dict[str, str]:
    return {
        **setup,
        "strategies": ", ".join(findings.strategies),
        "labels": ", ".join(f"{n:,}" for n in findings.labels),
        "seeds": ", ".join(map(str, findings.seeds)),
        "seconds of a query": ", ".join(
            f"{name} {seconds:.1f}"
            for name, seconds in findings.seconds.items()
            if np.isfinite(seconds)
        ),
        "do the ranks differ?": _ranks_in_words(findings),
        "tables": _HOW_TO_READ,
    }


def _ranks_in_words(findings: Findings) -> str:
    _, p, gap = ranks_over_seeds(findings, _MAIN)
    if np.isnan(p):
        return "cannot be told: Friedman's test needs three strategies and two seeds that all have"
    verdict = "yes" if p < SIGNIFICANT else "no significant difference"
    return (
        f"{verdict} (Friedman's test on the areas under {MEASURES[_MAIN]}, p = {p:.2g}; two"
        f" strategies differ where their ranks are {gap:.1f} or more apart, Nemenyi)"
    )


def _listing(findings: Findings, measure: str) -> Listing:
    columns = ["strategy", "seeds", "end", "area", "log area"]
    columns += [
        *(f"{share:.0%}" for share in TARGETS),
        "fewer",
        "rank",
        "area minus random",
        "in words",
    ]
    rows = [
        [
            each.strategy,
            str(each.seeds),
            f"{each.final:.3f}",
            f"{each.area:.3f}",
            f"{each.log_area:.3f}",
            *(_labels(value) for value in each.reach),
            "" if each.efficiency is None else str(each.efficiency),
            _NEVER if np.isnan(each.rank) else f"{each.rank:.2f}",
            "" if each.difference is None else _unbroken(each.difference),
            each.words,
        ]
        for each in standings(findings, measure)
    ]
    seeds = int(np.isfinite(findings.ceiling[measure]).sum())
    full = ["all labels", str(seeds), f"{findings.full(measure):.3f}"]
    rows.append([*full, *[""] * (len(columns) - len(full))])
    title = MEASURES[measure]
    return Listing(title[0].upper() + title[1:], columns, rows)


def _with_interval(found: Difference) -> str:
    if np.isnan(found.low):  # of too few seeds
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _unbroken(found: Difference) -> str:
    """The same, to be broken before the interval alone."""
    return _with_interval(found).replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")


def _labels(value: float) -> str:
    return _NEVER if np.isinf(value) else f"{value:,.0f}"


def _points(findings: Findings) -> Table:
    """A row per strategy and number of labels."""
    columns: dict[str, list[str]] = {"halStrategy": [], "halLabels": []}
    for name in findings.strategies:
        columns["halStrategy"] += [name] * len(findings.labels)
        columns["halLabels"] += [str(n) for n in findings.labels]
    for measure in MEASURES:
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
        saved = [each.efficiency or NOT_REACHED for each in found]
        reach = np.array([each.reach for each in found])
        columns: dict[str, list[str]] = {
            "halStrategy": [each.strategy for each in found],
            "halSeeds": [str(each.seeds) for each in found],
            "halFinal": text_of([each.final for each in found], 4),
            "halArea": text_of([each.area for each in found], 4),
            "halAreaLog": text_of([each.log_area for each in found], 4),
        }
        for share, labels in zip(TARGETS, reach.T, strict=True):
            texts = [f"{value:.0f}" for value in labels]  # inf = never
            columns[f"halLabelsTo{100 * share:.0f}"] = texts
        columns |= {
            "halLabelEfficiency": text_of([each.factor for each in saved], 3),
            "halLabelEfficiencyBound": [each.bound for each in saved],
            "halMeanRank": text_of([each.rank for each in found], 3),
            "halDifference": text_of([each.mean for each in pairs], 4),
            "halDifferenceLow": text_of([each.low for each in pairs], 4),
            "halDifferenceHigh": text_of([each.high for each in pairs], 4),
            "halPairs": [str(each.pairs) for each in pairs],
            "halPHolm": text_of([each.p for each in found], 5),
            "halInWords": [each.words or "none" for each in found],
        }
        yield Table.from_columns(f"summary_{measure}", columns)


def _overall(findings: Findings) -> Table:
    """A row per measure: full supervision, and whether the ranks of the strategies differ."""
    tests = [ranks_over_seeds(findings, measure)[1:] for measure in MEASURES]
    columns = {
        "halMeasure": [*MEASURES],
        "halFullSupervision": text_of([findings.full(measure) for measure in MEASURES], 4),
        "halFriedmanP": text_of([p for p, _ in tests], 5),
        "halNemenyiGap": text_of([gap for _, gap in tests], 3),
    }
    return Table.from_columns("overall", columns)


def _beaten(findings: Findings, shares: Floats) -> Table:
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


def _penalties(findings: Findings) -> Floats:
    curves = findings.curves[_MAIN]
    if RANDOM not in curves:
        return np.zeros((len(curves), len(curves)))
    mean = findings.mean(_MAIN, RANDOM)
    points = checkpoints(findings.labels, mean, float(mean[-1]))
    return penalties(curves, points)
