"""The paper's Figure 5: accuracy against labels, of each method on each data set.

python examples/paper/figure5.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes figure5.star, figure5.png and figure5.md in DIR; docs/paper.md says how to read them. The
trainings are those of Table 1.
"""

from pathlib import Path

import numpy as np
from common import ALL, PAPER, SETS, findings, job_of, no_results, sets_there
from pages import number, table_line
from running import arguments, run
from table1 import METHODS

from halcmd.benchmarking.learning_curves import band, mean_and_sd
from halcmd.formats.curve_plots import Panel, plot_curves
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.reports.findings import Findings

TEXT = """# Figure 5: accuracy against labels

![figure5](figure5.png)

Mean on the test particles, in percent, over the seeds that have every point of a curve (over all
where none has); bands are 95 % intervals of the mean. Du et al. 2021: HAL's accuracy rises without
a setback and ends the highest; the points of their curves are not known."""


def main() -> None:
    """Run all methods on the data sets asked for; draw the curves of all that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        run(given, name, ("hal", "margin") if given.small else METHODS)
    there = {name: findings(job_of(given.folder, name)) for name in sets_there(given.folder)}
    found = {name: each for name, (each, _) in there.items() if shown(each)}
    if not found:
        no_results(given.folder)
    pools = {name: pool for name, (_, pool) in there.items()}
    plot_curves(given.folder / "figure5.png", [panel(name, each) for name, each in found.items()])
    write_star(given.folder / "figure5.star", Star((points(found, pools),)))
    write_page(given.folder / "figure5.md", found)


def shown(found: Findings) -> dict[str, np.ndarray]:
    """Accuracies of the paper's methods, as far as they are there, shape (n_seeds, n_points).

    Of the seeds that have every point, so that a curve is of the same seeds all along; of all seeds
    where none has.
    """
    return {m: found.values("accuracy", m) for m in METHODS if m in found.strategies}


def panel(name: str, found: Findings) -> Panel:
    """The curves of one data set."""
    curves = {method: band(values) for method, values in shown(found).items()}
    return Panel(SETS[name].title, found.labels, curves, found.full("accuracy"))


def points(data: dict[str, Findings], pools: dict[str, int]) -> Table:
    """A row per data set, method and number of labels, and one of full supervision."""
    rows = []
    for name, found in data.items():
        for method, values in shown(found).items():
            curve = zip(found.labels, *mean_and_sd(values), strict=True)
            rows += [(name, method, *point) for point in curve]
        rows.append((name, ALL, pools[name], *mean_and_sd(found.ceiling["accuracy"])))
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
        for method, values in shown(found).items():
            means = 100 * mean_and_sd(values)[0]
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
