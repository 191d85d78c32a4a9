"""The pages of a benchmark: tables, curves, and what they mean in words."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halcmd import __version__
from halcmd.benchmarking.experiment import FULL
from halcmd.benchmarking.learning_curves import (
    SIGNIFICANT,
    Difference,
    band,
    reach_text,
)
from halcmd.console import log
from halcmd.formats.curve_plots import Panel, plot_curves, plot_penalties
from halcmd.formats.report import Listing, Picture, write_report
from halcmd.formats.star import write_star
from halcmd.reports.benchmark_tables import curve_tables
from halcmd.reports.findings import CALIBRATION, MEASURES, RANDOM, Findings
from halcmd.reports.standings import (
    TARGETS,
    Pair,
    beats,
    compared,
    pairs_of,
    ranks_over_seeds,
    standings,
)
from halcmd.reports.wording import plural
from halcmd.tables import running

_MAIN = "balanced_accuracy"
_DASH = "\N{EN DASH}"
_ALL = "all labels"
_HOW_TO_READ = (
    "end: at the last point; area: under the curve, over labels and over their logarithm; 90% to"
    " 99%: labels to that share of full supervision; fewer: times as many labels random choice"
    " needs to 95%; rank: mean over the seeds; p: Wilcoxon's test on the areas, corrected by Holm's"
    " rule for all strategies compared with random choice, or for all pairs; evenness: 1 where all"
    " classes were asked for alike; > or <: a bound; \N{LESS-THAN OR EQUAL TO}: there with the"
    " first labels; \N{EN DASH}: cannot be told"
)

Floats = NDArray[np.float64]


def write_benchmark_report(
    folder: Path, findings: Findings, *, setup: Mapping[str, str], seed: int
) -> None:
    """Write curves.star, curves.png, penalty.png and report.html; say the gist in the log.

    ``setup`` says in words what was done.
    """
    main, now = compared(findings, _MAIN), running.get()
    write_star(folder / "curves.star", curve_tables(findings, _MAIN))
    plot_curves(
        folder / "curves.png", [panel(findings, each, title) for each, title in MEASURES.items()]
    )
    plot_penalties(folder / "penalty.png", beats(findings, _MAIN), findings.strategies)
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
                f" {MEASURES[_MAIN]} than the column's (paired t test, p < 0.05; fewer than five"
                " seeds tell nothing).",
            ),
        ],
        listings=[
            *(_listing(findings, measure) for measure in MEASURES),
            _pairs(findings),
            _calibration(findings),
            _recall(findings),
            _asked(findings),
            _seconds(findings),
        ],
        provenance={"halcmd": __version__, "seed": str(seed)}
        | ({} if now is None else {"command": now.command}),
    )
    log.info(_gist(findings, main))
    for name, pair in main.items():
        log.info(
            f"  {name}: area under {MEASURES[_MAIN]} against random"
            f" {_with_interval(pair.difference)}: {pair.words}"
        )


def panel(findings: Findings, measure: str, title: str) -> Panel:
    """The learning curves of one measure, to be drawn."""
    curves = {name: band(findings.values(measure, name)) for name in findings.strategies}
    return Panel(title, findings.labels, curves, findings.full(measure))


def _gist(findings: Findings, main: Mapping[str, Pair]) -> str:
    full = findings.full(_MAIN)
    whole = (
        "The trainings with all labels are not there."
        if np.isnan(full)
        else f"Full supervision has a {MEASURES[_MAIN]} of {full:.3f}."
    )
    better = [name for name, pair in main.items() if pair.words == "better"]
    if better:
        said = f"better than random choice: {', '.join(better)}"
    elif RANDOM in findings.strategies:
        said = "no strategy is shown to be better than random choice"
    else:
        said = "random choice is not there to compare with"
    return (
        f"{plural(len(findings.strategies), 'strategy', 'strategies')},"
        f" {plural(len(findings.seeds), 'seed')},"
        f" {findings.labels[0]:,} to {findings.labels[-1]:,} labels; {said}. {whole}"
    )


def _facts(findings: Findings, setup: Mapping[str, str]) -> dict[str, str]:
    return {
        **setup,
        "strategies": ", ".join(findings.strategies),
        "labels": ", ".join(f"{n:,}" for n in findings.labels),
        "seeds": ", ".join(map(str, findings.seeds)),
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
            _share(each.final),
            _share(each.area),
            _share(each.log_area),
            *(reach_text(findings.labels, value) for value in each.reach),
            "" if each.efficiency is None else str(each.efficiency),
            _DASH if np.isnan(each.rank) else f"{each.rank:.2f}",
            "" if each.difference is None else _unbroken(each.difference),
            each.words if np.isnan(each.p) else f"{each.words}, p {_probability(each.p)}",
        ]
        for each in standings(findings, measure)
    ]
    seeds = int(np.isfinite(findings.ceiling[measure]).sum())
    full = [_ALL, str(seeds), _share(findings.full(measure))]
    rows.append([*full, *[""] * (len(columns) - len(full))])
    title = MEASURES[measure]
    return Listing(title[0].upper() + title[1:], columns, rows)


def _pairs(findings: Findings) -> Listing:
    rows = [
        [each.ours, each.theirs, _unbroken(each.difference), _probability(each.p), each.words]
        for each in pairs_of(findings, _MAIN)
    ]
    columns = ["strategy", "minus", "area", "p", "in words"]
    return Listing(f"Every two strategies, by {MEASURES[_MAIN]}", columns, rows)


def _calibration(findings: Findings) -> Listing:
    rows = [
        [name, *_texts(findings.mean(CALIBRATION, name), ".3f")] for name in findings.strategies
    ]
    if not np.isnan(full := findings.full(CALIBRATION)):
        rows.append([_ALL, *[""] * (len(findings.labels) - 1), f"{full:.3f}"])
    labels = [f"{n:,}" for n in findings.labels]
    return Listing("Expected calibration error, by labels", ["strategy", *labels], rows)


def _recall(findings: Findings) -> Listing:
    found = findings.by_class
    rows = [
        [_ALL if name == FULL else name, *_texts(values, ".3f")]
        for name, values in found.recall.items()
    ]
    return Listing("Recall of each class, at the end", ["strategy", *found.classes], rows)


def _asked(findings: Findings) -> Listing:
    found = findings.by_class
    rows = [
        [
            "the pool" if name == FULL else name,
            f"{found.evenness[name]:.2f}",
            *_texts(100 * shares, ".1f"),
        ]
        for name, shares in found.asked.items()
    ]
    columns = ["strategy", "evenness", *found.classes]
    return Listing("What was asked for, in percent", columns, rows)


def _seconds(findings: Findings) -> Listing:
    of = findings.seconds
    rows = [
        [_ALL if name == FULL else name, *_texts((of[name].train, of[name].query), ".1f")]
        for name in findings.by_class.asked
    ]
    return Listing("Seconds", ["strategy", "a training", "a query"], rows)


def _texts(values: Iterable[float], form: str) -> list[str]:
    return [_DASH if np.isnan(value) else f"{value:{form}}" for value in values]


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _probability(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.2g}"


def _with_interval(found: Difference) -> str:
    if np.isnan(found.mean):
        return ""
    if np.isnan(found.low):  # of too few seeds
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _unbroken(found: Difference) -> str:
    """The same, to be broken before the interval alone."""
    return _with_interval(found).replace(" to ", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}")
