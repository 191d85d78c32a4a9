"""A table of the paper as STAR, PNG and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import ALL, SETS, Blocks, Row

from halcmd.benchmarking.learning_curves import Difference
from halcmd.formats.plots import new_figure, save_figure
from halcmd.formats.star import Star, Table, text_of, write_star

DASH = "\N{EN DASH}"
NOTES = """Accuracy: mean over the seeds on the test particles, ± standard deviation (number of
seeds). *Du et al.*: what the text of Du et al. 2021 states, on their particles; a dash where the
number is not known. Differences are paired by seed, with a 95 % bootstrap interval; in words:
Wilcoxon's signed-rank test with Holm's correction."""


def write(
    folder: Path,
    stem: str,
    text: str,
    blocks: Blocks,
    *,
    what: str,
    reference: str,
    more: Mapping[str, str] | None = None,
) -> None:
    """Write the table as STAR, PNG and Markdown.

    ``text`` is the head of the Markdown, ``what`` the heading of the rows, ``reference`` what
    differences are to, ``more`` the headings of facts by their STAR name.
    """
    more = more or {}
    rows = [row for block in blocks.values() for row in block]
    write_star(folder / f"{stem}.star", Star((star_table(stem, rows),)))
    plot(folder / f"{stem}.png", blocks, what, seconds="halQuerySeconds" in more)
    parts = [text, *(section(block, what, reference, more) for block in blocks.values())]
    path = folder / f"{stem}.md"
    path.write_text("\n\n".join([*parts, f"![{stem}]({stem}.png)", NOTES]) + "\n")
    print(f"{path}\n\n{path.read_text()}")


def star_table(name: str, rows: Sequence[Row]) -> Table:
    """All rows with all facts, accuracies between 0 and 1."""
    facts = dict.fromkeys(fact for row in rows for fact in row.facts)
    columns: dict[str, list[str]] = {
        "halDataSet": [row.data for row in rows],
        "halMethod": [row.name for row in rows],
        **{fact: [f"{row.facts.get(fact, np.nan):.6g}" for row in rows] for fact in facts},
        "halLabels": [str(row.labels) for row in rows],
        "halPoolShare": text_of([row.labels / row.pool for row in rows], 4),
        "halSeeds": [str(len(row.values)) for row in rows],
        "halAccuracy": text_of([row.accuracy[0] for row in rows], 4),
        "halAccuracySd": text_of([row.spread for row in rows], 4),
        "halPaperAccuracy": text_of([row.paper for row in rows], 4),
        "halDifference": text_of([row.minus.mean for row in rows], 4),
        "halDifferenceLow": text_of([row.minus.low for row in rows], 4),
        "halDifferenceHigh": text_of([row.minus.high for row in rows], 4),
        "halPHolm": text_of([row.p for row in rows], 5),
        "halInWords": [row.words or "none" for row in rows],
    }
    return Table.from_columns(name, columns)


def section(rows: Sequence[Row], what: str, reference: str, more: Mapping[str, str]) -> str:
    """The Markdown table of one data set, in percent."""
    heads = [what, *more.values(), "labels", "of the pool, %", "accuracy, %", "Du et al., %"]
    heads += [f"minus {reference}, points", "in words"]
    lines = [f"## {SETS[rows[0].data].title}", "", f"{rows[0].pool:,} particles in the pool.", ""]
    lines += [table_line(heads), table_line(["---"] * len(heads))]
    for row in rows:
        cells = [row.name, *(number(row.facts.get(fact, np.nan)) for fact in more)]
        cells += [f"{row.labels:,}", f"{100 * row.labels / row.pool:.1f}", percent(row)]
        lines.append(table_line([*cells, number(100 * row.paper, 2), points(row.minus), row.words]))
    return "\n".join(lines)


def table_line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def percent(row: Row) -> str:
    """``93.1 ± 0.4 (10)``: mean, standard deviation, number of seeds."""
    if not row.values:
        return DASH
    spread = f" ± {100 * row.spread:.1f}" if len(row.values) > 1 else ""
    return f"{100 * row.accuracy[0]:.1f}{spread} ({len(row.values)})"


def points(found: Difference) -> str:
    """``-1.2 (-2.0 to -0.3)``, in percentage points."""
    if not found.pairs:
        return ""
    mean = f"{100 * found.mean:+.1f}"
    if np.isnan(found.low):  # too few pairs for an interval
        return mean
    return f"{mean} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def number(value: float, decimals: int | None = None) -> str:
    """A number, or a dash where it is not known."""
    if np.isnan(value):
        return DASH
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def plot(path: Path, blocks: Blocks, what: str, *, seconds: bool) -> None:
    """Accuracies with 95 % intervals, a panel per data set; beneath, seconds of a query."""
    most = max(len(rows) for rows in blocks.values())
    figure = new_figure(max(0.5 * most, 3.2) * len(blocks) + 0.8, 6.4 if seconds else 3.8)
    grid = figure.subplots(1 + seconds, len(blocks), squeeze=False, sharex="col")
    for place, (data, rows) in enumerate(blocks.items()):
        shown = [row for row in rows if row.name != ALL]
        full = [100 * row.accuracy[0] for row in rows if row.name == ALL]
        names, at = [row.name for row in shown], range(len(shown))
        mean, half = 100 * np.array([row.accuracy for row in shown]).T
        axes, ends = grid[0, place], np.clip([mean - half, mean + half], 0, 100)
        spans = np.abs(ends - mean)
        axes.errorbar(at, mean, yerr=spans, fmt="o", color="#0072b2", capsize=3, label="halcmd")
        axes.scatter(
            *(at, [100 * row.paper for row in shown]),
            marker="D",
            facecolors="none",
            edgecolors="#d55e00",
            label="Du et al. 2021",
        )
        for value in full:
            axes.axhline(value, color="black", lw=0.9, ls="--", label="halcmd, all labels")
        axes.set(title=SETS[data].title, ylabel="accuracy, %" if not place else "")
        if seconds:
            took = [row.facts["halQuerySeconds"] for row in shown]
            grid[1, place].plot(at, took, "o-", color="#0072b2")
            grid[1, place].set(ylabel="seconds per query" if not place else "", ylim=(0, None))
        grid[-1, place].set(xlabel=what)
        is_long = max(map(len, names)) > 5
        turned = {"rotation": 45, "ha": "right"} if is_long else {}
        grid[-1, place].set_xticks([*at], names, **turned)
    for axes in grid.flat:
        axes.margins(x=0.12)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    names = {h.get_label(): h for axes in grid[0] for h in axes.get_legend_handles_labels()[0]}
    figure.legend(names.values(), names.keys(), loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)
