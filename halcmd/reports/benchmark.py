"""The pages of a benchmark: tables, curves, and what they mean in words."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.console import log
from halcmd.formats.curve_plots import plot_curves, plot_penalties
from halcmd.formats.report import Listing, Picture, write_report
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.learning_curves import (
    Difference,
    area,
    band,
    checkpoints,
    in_words,
    labels_to_reach,
    mean_and_sd,
    penalties,
)
from halcmd.reports.findings import MEASURES, RANDOM, Findings, compared, ranks_over_seeds

TARGETS = (0.90, 0.95, 0.97, 0.99)
_MAIN = "balanced_accuracy"
_NEVER = "\N{EN DASH}"
_HOW_TO_READ = (
    "at the last point; area under the curve, also over the logarithm of labels; labels to 90 to"
    " 99 % of full supervision (\N{EN DASH} = never); times fewer than random to 95 %; mean rank"
)

Floats = NDArray[np.float64]


def write_benchmark_report(folder: Path, findings: Findings, *, training: str, seed: int) -> None:
    """Write curves.star, curves.png, penalty.png and report.html; say the gist in the log."""
    main = compared(findings, _MAIN)
    write_star(folder / "curves.star", Star((_points(findings), *_summaries(findings))))
    plot_curves(
        folder / "curves.png",
        findings.labels,
        {
            measure: {name: band(values) for name, values in findings.curves[measure].items()}
            for measure in MEASURES
        },
        {measure: findings.full(measure) for measure in MEASURES},
    )
    beaten = _penalties(findings)
    plot_penalties(folder / "penalty.png", beaten, findings.strategies)
    write_report(
        folder / "report.html",
        title="Benchmark of strategies",
        summary=_gist(findings, main),
        facts=_facts(findings, training),
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
                f" {_MAIN.replace('_', ' ')} than the column's (paired t test, p < 0.05).",
            ),
        ],
        listings=[_listing(findings, measure) for measure in MEASURES],
        provenance={"halcmd": __version__, "seed": str(seed)},
    )
    log.info(_gist(findings, main))
    for name, (found, p) in main.items():
        log.info(
            f"  {name}: area under {_MAIN.replace('_', ' ')} against random"
            f" {_with_interval(found)}: {in_words(found, p)}"
        )


def _gist(findings: Findings, main: Mapping[str, tuple[Difference, float]]) -> str:
    better = [name for name, (found, p) in main.items() if in_words(found, p) == "better"]
    full = findings.full(_MAIN)
    said = (
        f"better than random choice: {', '.join(better)}"
        if better
        else ("no strategy is shown to be better than random choice")
    )
    return (
        f"{len(findings.strategies)} strategies, {len(findings.seeds)} seeds,"
        f" {findings.labels[0]:,} to {findings.labels[-1]:,} labels; {said}."
        f" Full supervision has a {_MAIN.replace('_', ' ')} of {full:.3f}."
    )


def _facts(findings: Findings, training: str) -> dict[str, str]:
    return {
        "strategies": ", ".join(findings.strategies),
        "labels": ", ".join(f"{n:,}" for n in findings.labels),
        "seeds": ", ".join(map(str, findings.seeds)),
        "training": training,
        "seconds of a query": ", ".join(
            f"{name} {seconds:.1f}" for name, seconds in findings.seconds.items()
        ),
        "tables": _HOW_TO_READ,
    }


def _listing(findings: Findings, measure: str) -> Listing:
    ceiling = findings.full(measure)
    pairs = compared(findings, measure)
    random = findings.mean(measure, RANDOM) if RANDOM in findings.strategies else None
    ranks, _, _ = ranks_over_seeds(findings, measure)
    rows = []
    for name in findings.strategies:
        mean = findings.mean(measure, name)
        reach = [labels_to_reach(findings.labels, mean, share * ceiling) for share in TARGETS]
        found, p = pairs.get(name, (None, float("nan")))
        saved = "" if random is None else _saved(findings, random, reach[1], 0.95 * ceiling)
        rows.append(
            [
                name,
                f"{mean[-1]:.3f}",
                f"{float(area(findings.labels, mean)):.3f}",
                f"{float(area(findings.labels, mean, log=True)):.3f}",
                *(_labels(value) for value in reach),
                saved,
                f"{ranks[name]:.2f}",
                "" if found is None else _with_interval(found),
                "" if found is None else in_words(found, p),
            ]
        )
    columns = ["strategy", "end", "area", "log area"]
    columns += [f"{share:.0%}" for share in TARGETS]
    columns += ["fewer", "rank", "area minus random", "in words"]
    return Listing(measure.replace("_", " "), columns, rows)


def _saved(findings: Findings, random: Floats, ours: float, target: float) -> str:
    """How many times as many labels random choice needs; open where one never gets there."""
    theirs = labels_to_reach(findings.labels, random, target)
    if np.isinf(ours):
        return _NEVER
    if np.isinf(theirs):
        return f"> {findings.labels[-1] / ours:.1f}"
    return f"{theirs / ours:.1f}"


def _with_interval(found: Difference) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


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
        values = [findings.curves[measure][name] for name in findings.strategies]
        means, spreads, _ = (
            np.concatenate(each) for each in zip(*map(mean_and_sd, values), strict=True)
        )
        columns[f"hal{title}"] = text_of(means, 4)
        columns[f"hal{title}Sd"] = text_of(spreads, 4)
    return Table.from_columns("curves", columns)


def _summaries(findings: Findings) -> list[Table]:
    """A table per measure with what report.html lists."""
    tables = []
    for measure in MEASURES:
        listing = _listing(findings, measure)
        names = ["halStrategy", "halFinal", "halArea", "halAreaLog"]
        names += [f"halLabelsTo{round(100 * share)}" for share in TARGETS]
        columns = {
            label: [row[place].replace(_NEVER, "inf").replace(",", "") for row in listing.rows]
            for place, label in enumerate(names)
        }
        tables.append(Table.from_columns(f"summary_{measure}", columns))
    return tables


def _penalties(findings: Findings) -> Floats:
    curves = findings.curves[_MAIN]
    if RANDOM not in curves:
        return np.zeros((len(curves), len(curves)))
    mean = findings.mean(_MAIN, RANDOM)
    points = checkpoints(findings.labels, mean, float(mean[-1]))
    return penalties(curves, points)
