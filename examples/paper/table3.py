"""The paper's Table 3: HAL without its convolutions, its subsets, its entropy (V1 to V3).

python examples/paper/table3.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table3.star, table3.png and table3.md in DIR; docs/paper.md says how to read them.
"""

from common import Entry, against, blocks_of, job_of, rows_of
from pages import write
from running import arguments, run

ENTRIES = (
    Entry("hal", "HAL"),
    Entry("hal:discriminator=mlp", "V1"),
    Entry("hal:subsets=1", "V2"),
    Entry("hal:lambda=0", "V3"),
    Entry("entropy", "entropy"),
)
TEXT = """# Table 3: HAL without its parts

- V1: the discriminator has dense layers alone, no convolutions.
- V2: the query is taken at once, not in subsets.
- V3: no entropy, the discriminator decides alone.
- entropy: no discriminator, which Du et al. 2021 count as uncertainty query.

Du et al. 2021: each part left out costs accuracy, the subsets on R1b most."""


def main() -> None:
    """Run HAL and its variants; write the table of all data sets that are there."""
    given = arguments(__doc__)
    for name in given.sets:
        run(given, name, [entry.strategy for entry in ENTRIES])
    blocks = blocks_of(
        given.folder,
        lambda name: against(rows_of(job_of(given.folder, name), name, ENTRIES), "HAL"),
    )
    write(given.folder, "table3", TEXT, blocks, what="variant", reference="HAL")


if __name__ == "__main__":
    main()
