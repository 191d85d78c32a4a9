"""Several answers for one particle: one label of them, by a rule."""

from collections import Counter

from halcmd.errors import InputError, first_few
from halcmd.labels.annotations import Answer

Answers = dict[int, list[Answer]]
"""Row to its answers, the oldest first."""


def with_earlier(answers: Answers, before: list[Answer]) -> Answers:
    """The answers, before them the last one of each annotator who does not answer now."""
    last = {(answer.particle, answer.annotator): answer for answer in before}
    earlier: dict[str, list[Answer]] = {}
    for answer in last.values():
        earlier.setdefault(answer.particle, []).append(answer)
    votes = {}
    for row, given in answers.items():
        now = {answer.annotator for answer in given}
        others = [a for a in earlier.get(given[0].particle, []) if a.annotator not in now]
        votes[row] = [*others, *given]
    return votes


def settled(answers: Answers, conflict: str) -> tuple[dict[int, Answer], int]:
    """One answer per row, and the number of rows with contradictory ones.

    Parameters
    ----------
    answers : dict of int to list of Answer
        At least one for each row.
    conflict : str
        ``error``, ``first``, ``last`` or ``majority``; of as many votes the earlier answer counts.

    Raises
    ------
    InputError
        Contradictory answers with ``error``.
    """
    conflicts = [row for row, given in answers.items() if len({a.label for a in given}) > 1]
    if conflicts and conflict == "error":
        shown = [
            f"{answers[row][0].particle}: "
            + " / ".join(dict.fromkeys(answer.label for answer in answers[row]))
            for row in conflicts
        ]
        raise InputError(
            "contradictory labels for the same particle",
            where=", ".join(sorted({a.annotator for row in conflicts for a in answers[row]})),
            found=first_few(shown),
            hint="--conflict first, last or majority, or mend the files",
        )
    return {row: _one_of(given, conflict) for row, given in answers.items()}, len(conflicts)


def _one_of(given: list[Answer], conflict: str) -> Answer:
    if conflict == "last":
        return given[-1]
    if conflict == "majority":
        counts = Counter(answer.label for answer in given)
        most = max(counts.values())
        return next(answer for answer in given if counts[answer.label] == most)
    return given[0]
