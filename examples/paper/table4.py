"""The paper's Table 4: the share of first labels against HAL's final accuracy.

python examples/paper/table4.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table4.star, table4.png and table4.md in DIR; docs/paper.md says how to read them.
"""

import argparse
import math
from dataclasses import replace

from common import ALL, Entry, Row, against, blocks_of, has_full, job_of, rows_of
from pages import write
from running import SMALL_INITIAL, arguments, run

from halcmd.benchmarking.protocols import PROTOCOLS

SHARES, SMALL_SHARES = (0.01, 0.02, 0.03, 0.04, 0.05), (0.1, SMALL_INITIAL)
TEXT = """# Table 4: how many labels HAL starts from

First labels as a share of all particles, the test quarter included; the same number is asked for in
each round whatever the start, so that a larger share ends with more labels. Du et al. 2021: too few
first labels lead to a much lower accuracy in the end, and more than 3 to 4 % gain little; the
numbers of their table are not known, nor which shares they tried."""


def main() -> None:
    """Run HAL from each share; write the table of all data sets that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        for share in SMALL_SHARES if given.small else SHARES:
            run(given, name, ["hal"], other_share(given, name, share))
    blocks = blocks_of(given.folder, lambda name: rows(given, name))
    write(given.folder, "table4", TEXT, blocks, what="first labels", reference="the paper's share")


def rows(given: argparse.Namespace, name: str) -> list[Row]:
    """HAL from each share that is there, and full supervision."""
    found = []
    for share in SMALL_SHARES if given.small else SHARES:
        other = other_share(given, name, share)
        job = job_of(given.folder, name, other)
        if has_full(job):
            entry = Entry("hal", title(share), {"halInitialShare": share})
            of_share = [row for row in rows_of(job, name, [entry]) if row.name != ALL]
            found += of_share if other is None else [replace(r, paper=math.nan) for r in of_share]
    full = rows_of(job_of(given.folder, name), name, [])
    return against([*found, *full], title(usual_share(given, name)))


def usual_share(given: argparse.Namespace, name: str) -> float:
    """The paper's share for the data set."""
    return SMALL_INITIAL if given.small else PROTOCOLS[name].initial


def other_share(given: argparse.Namespace, name: str, share: float) -> float | None:
    """The share, where it is not the paper's; its experiment is one of its own then."""
    return None if share == usual_share(given, name) else share


def title(share: float) -> str:
    """What a row is called."""
    return f"{100 * share:g} %"


if __name__ == "__main__":
    main()
