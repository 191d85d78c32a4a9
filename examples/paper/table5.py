"""The paper's Table 5: lambda, the weight of the entropy beside HAL's discriminator.

python examples/paper/table5.py --folder DIR [--maps MAPS] [--scale S] [--seeds N] [--workers N]

writes table5.star, table5.png and table5.md in DIR; docs/paper.md says how to read them.
"""

import math

from common import Entry, against, blocks_of, job_of, rows_of
from pages import write
from running import arguments, run

ENTRIES = (
    Entry("hal:lambda=0", "0", {"halLambda": 0.0}),
    *(Entry(f"hal:lambda={value}", f"{value}", {"halLambda": value}) for value in (0.1, 0.5)),
    Entry("hal", "1", {"halLambda": 1.0}),
    *(Entry(f"hal:lambda={value}", f"{value}", {"halLambda": value}) for value in (2, 10)),
    Entry("entropy", "infinite", {"halLambda": math.inf}),
)
TEXT = """# Table 5: lambda

lambda = 0 is the discriminator alone (V3 of Table 3), infinite is entropy alone. The entropy is in
nats, at most the logarithm of the number of classes, so the same lambda weighs it more where there
are more classes. Du et al. 2021: of five values, lambda = 1 is the best on S1 and on R1a (R1b in
the caption); the numbers of their table are not known, nor the other four values."""


def main() -> None:
    """Run HAL with each lambda; write the table of all data sets that are there."""
    given = arguments(__doc__, sets=("s1",))
    for name in given.sets:
        run(given, name, [entry.strategy for entry in ENTRIES])
    blocks = blocks_of(
        given.folder,
        lambda name: against(rows_of(job_of(given.folder, name), name, ENTRIES), "1"),
    )
    write(given.folder, "table5", TEXT, blocks, what="lambda", reference="lambda 1")


if __name__ == "__main__":
    main()
