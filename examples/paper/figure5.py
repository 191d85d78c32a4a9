"""The paper's Figure 5: accuracy against labels, of each method on each data set.

python examples/paper/figure5.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes figure5.star, figure5.png and figure5.md in DIR; docs/paper.md says how to read them. The
trainings are those of Table 1.
"""

from pathlib import Path

import numpy as np
from common import PAPER, SETS, arguments, findings, job_of, run, sets_there
from pages import number, table_line
from table1 import METHODS

from halcmd.benchmarking.learning_curves import band, mean_and_sd
from halcmd.formats.curve_plots import Panel, plot_curves
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.reports.findings import Findings

TEXT = """# Figure 5: accuracy against labels

![figure5](figure5.png)

Mean over the seeds on the test particles, in percent; bands are 95 % intervals of the mean. Du et
al. 2021: HAL's accuracy rises without a setback and ends the highest; the points of their curves
are not known."""


def main() -> None:
    """Run all methods on the data sets asked for; draw the curves of all that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        run(given, name, ("hal", "margin") if given.small else METHODS)
    found = {name: findings(job_of(given.folder, name))[0] for name in sets_there(given.folder)}
    if not found:
        raise SystemExit(f"{given.folder}: no results yet; leave out --table")
    plot_curves(given.folder / "figure5.png", [panel(name, each) for name, each in found.items()])
    write_star(given.folder / "figure5.star", Star((points(found),)))
    write_page(given.folder / "figure5.md", found)


def shown(found: Findings) -> dict[str, np.ndarray]:
    """Accuracies of the paper's methods, as far as they are there."""
    return {m: found.curves["accuracy"][m] for m in METHODS if m in found.strategies}


def panel(name: str, found: Findings) -> Panel:
    """The curves of one data set."""
    curves = {method: band(values) for method, values in shown(found).items()}
    return Panel(SETS[name].title, found.labels, curves, found.full("accuracy"))


def points(data: dict[str, Findings]) -> Table:
    """A row per data set, method and number of labels."""
    rows = [
        (name, method, labels, *column)
        for name, found in data.items()
        for method, values in shown(found).items()
        for labels, *column in zip(found.labels, *mean_and_sd(values), strict=True)
    ]
    names, methods, labels, means, spreads, seeds = zip(*rows, strict=True)
    columns = {"halDataSet": names, "halMethod": methods, "halLabels": labels, "halSeeds": seeds}
    columns |= {"halAccuracy": text_of(means, 4), "halAccuracySd": text_of(spreads, 4)}
    return Table.from_columns("figure5", columns)


def write_page(path: Path, data: dict[str, Findings]) -> None:
    """The numbers of the curves as Markdown."""
    lines = [TEXT]
    for name, found in data.items():
        heads = ["", *(f"{labels:,}" for labels in found.labels)]
        lines += [f"\n## {SETS[name].title}\n", table_line(heads), table_line(["---"] * len(heads))]
        for method in shown(found):
            means = 100 * found.mean("accuracy", method)
            lines.append(table_line([method, *(number(mean, 1) for mean in means)]))
        lines.append(f"\nAll labels: {number(100 * found.full('accuracy'), 1)}. {paper_says(name)}")
    path.write_text("\n".join(lines) + "\n")
    print(f"{path}\n\n{path.read_text()}")


def paper_says(data: str) -> str:
    """The final accuracies that the paper's text states of a data set."""
    known = [
        f"{method} {100 * value:.2f}" for (name, method), value in PAPER.items() if name == data
    ]
    return f"Du et al. at the end: {', '.join(known) or 'not known'}."


if __name__ == "__main__":
    main()
