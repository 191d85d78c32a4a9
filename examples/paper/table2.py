"""The paper's Table 2: number m and size K/m of HAL's subsets against accuracy and time.

python examples/paper/table2.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table2.star, table2.png and table2.md in DIR; docs/paper.md says how to read them.
"""

import argparse

from common import SETS, Entry, Row, against, blocks_of, findings, job_of, rows_of
from pages import write
from running import arguments, preset_of, run

from halcmd.benchmarking.protocols import PROTOCOLS, scaled

SIMULATED, REAL = (1, 5, 10, 20, 40, 80), (1, 2, 4, 8, 16, 32)
SMALL_SIZE = 4
TEXT = """# Table 2: number and size of HAL's subsets

A query of K particles is taken in m subsets of K/m, the discriminator trained again for each. Du et
al. 2021: a moderate size is best, and small ones take much longer; the numbers of their table are
not known, nor which six sizes they tried. Seconds are those of a query, training left out."""
MORE = {"halSubsetSize": "K/m", "halQuerySeconds": "seconds per query"}


def main() -> None:
    """Run HAL with each number of subsets; write the table of all data sets that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        protocol = scaled(PROTOCOLS[preset_of(given, name)], given.scale)
        size = SMALL_SIZE if given.small else protocol.n
        usual = min(protocol.subsets, size)
        run(given, name, [entry.strategy for entry in entries(name, size, usual)])
    blocks = blocks_of(given.folder, lambda name: rows(given, name))
    write(given.folder, "table2", TEXT, blocks, what="m", reference="the paper's m", more=MORE)


def rows(given: argparse.Namespace, name: str) -> list[Row]:
    """HAL with each number of subsets that is there, and full supervision."""
    job = job_of(given.folder, name)
    labels = findings(job)[0].labels
    if len(labels) < 2:  # no round is done, so that the size of a query is not known
        return []
    size = labels[1] - labels[0]
    usual = min(PROTOCOLS[preset_of(given, name)].subsets, size)
    return against(rows_of(job, name, entries(name, size, usual)), title(usual))


def title(subsets: int) -> str:
    """What a row is called."""
    return f"{subsets}"


def entries(name: str, size: int, usual: int) -> list[Entry]:
    """The rows of a data set, for queries of so many particles and its own m."""
    numbers = {m for m in (REAL if SETS[name].snr is None else SIMULATED) if m <= size}
    return [
        Entry(
            "hal" if m == usual else f"hal:subsets={m}",
            title(m),
            {"halSubsetSize": size / m},
        )
        for m in sorted(numbers | {usual})
    ]


if __name__ == "__main__":
    main()
