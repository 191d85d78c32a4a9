"""The paper's Table 1: final accuracy of each method on each data set, beside full supervision.

python examples/paper/table1.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table1.star, table1.png and table1.md in DIR; docs/paper.md says how to read them.
"""

from common import ALL, SETS, Blocks, Entry, against, arguments, job_of, rows_of, run, sets_there
from pages import percent, table_line, write

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
    blocks = {
        name: against(rows_of(job_of(given.folder, name), name, entries), "hal")
        for name in sets_there(given.folder)
    }
    write(
        given.folder,
        "table1",
        f"{TEXT}\n\n{overview(blocks)}",
        blocks,
        what="method",
        reference="hal",
    )


def overview(blocks: Blocks) -> str:
    """The table as the paper has it: a row per method, a column per data set."""
    lines = [["", *(SETS[data].title for data in blocks)], ["---"] * (len(blocks) + 1)]
    there = {row.name for rows in blocks.values() for row in rows}
    for name in (name for name in (*METHODS, ALL) if name in there):
        of_name = [[row for row in rows if row.name == name] for rows in blocks.values()]
        lines.append([name, *(percent(rows[0]) if rows else "" for rows in of_name)])
    return "\n".join(map(table_line, lines))


if __name__ == "__main__":
    main()
