"""The paper's Table 1: final accuracy of each method on each data set, beside full supervision.

python examples/paper/table1.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table1.star, table1.png and table1.md in DIR; docs/paper.md says how to read them.
"""

from dataclasses import replace

import numpy as np
from common import ALL, SETS, Blocks, Entry, against, blocks_of, job_of, rows_of
from pages import number, percent, table_line, write
from running import arguments, run

from halcmd.benchmarking.learning_curves import mean_ranks
from halcmd.benchmarking.protocols import PROTOCOLS

METHODS = PROTOCOLS["s1"].strategies
TEXT = """# Table 1: final accuracy of each method

Du et al. 2021: HAL is the best on all five data sets; of methods with one principle `bgal` is the
best and `coreset` the worst. `entropy` and `margin` are the two readings of their "uncertainty".
In percent:"""


def main() -> None:
    """Run all methods on the data sets asked for; write the table of all that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        run(given, name, ("hal", "margin") if given.small else METHODS)
    entries = [Entry(method, method) for method in METHODS]
    blocks = blocks_of(
        given.folder,
        lambda name: against(rows_of(job_of(given.folder, name), name, entries), "hal"),
    )
    text, blocks = overview(blocks)
    write(given.folder, "table1", f"{TEXT}\n\n{text}", blocks, what="method", reference="hal")


def overview(blocks: Blocks) -> tuple[str, Blocks]:
    """The table as the paper has it, with mean ranks; and the blocks with them."""
    ranks, p, gap = ranks_of(blocks)
    lines = [["", *(SETS[data].title for data in blocks), *(["mean rank"] if ranks else [])]]
    lines.append(["---"] * len(lines[0]))
    there = {row.name for rows in blocks.values() for row in rows}
    for name in (name for name in (*METHODS, ALL) if name in there):
        of_name = [[row for row in rows if row.name == name] for rows in blocks.values()]
        cells = [name, *(percent(rows[0]) if rows else "" for rows in of_name)]
        lines.append(cells + ([number(ranks.get(name, np.nan), 1)] if ranks else []))
    text = "\n".join(map(table_line, lines))
    if not ranks:
        return text, blocks
    ranked = {
        data: [
            replace(row, facts={**row.facts, "halMeanRank": ranks.get(row.name, np.nan)})
            for row in rows
        ]
        for data, rows in blocks.items()
    }
    return f"{text}\n\n{ranks_in_words(p, gap)}", ranked


def ranks_of(blocks: Blocks) -> tuple[dict[str, float], float, float]:
    """Mean ranks of the methods that all data sets have, Friedman's p, Nemenyi's gap.

    Empty with a single data set, or a single such method.
    """
    ends = [{r.name: r.accuracy[0] for r in rows if r.values} for rows in blocks.values()]
    shared = [method for method in METHODS if all(method in each for each in ends)]
    if min(len(ends), len(shared)) < 2:
        return {}, np.nan, np.nan
    return mean_ranks({method: [each[method] for each in ends] for method in shared})


def ranks_in_words(p: float, gap: float) -> str:
    """What the mean ranks are, and how far apart they must be to differ."""
    text = "Mean rank: over these data sets, 1 = the best, of the methods that all of them have."
    if np.isnan(p):
        return text
    return (
        f"{text} Friedman's test: p = {p:.2g}; methods differ at the 5 % level where their mean "
        f"ranks are more than {gap:.1f} apart (Nemenyi)."
    )


if __name__ == "__main__":
    main()
