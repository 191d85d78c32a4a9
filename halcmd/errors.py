"""What can go wrong that the user can mend: what, where, what was found, what to try."""

from collections.abc import Iterable
from difflib import get_close_matches


class HalcmdError(Exception):
    """An error that the user can act on; the command line prints it without a traceback.

    Parameters
    ----------
    message : str
        What is wrong, in one line.
    where : str, optional
        File, table, column, row.
    found : str, optional
        What stands there instead.
    hint : str, optional
        What to do: an option with its value, or what to change in the file.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.found = found
        self.hint = hint

    def render(self) -> str:
        """The message as it is printed, without the leading ``ERROR:``."""
        parts = [("file", self.where), ("found", self.found), ("try", self.hint)]
        lines = [f"  {name:<6} {text}" for name, text in parts if text]
        return "\n".join([self.message, *lines])

    def facts(self) -> dict[str, object]:
        """What ``--json`` prints of it; None for what is not known."""
        return {
            "error": self.message,
            "where": self.where or None,
            "found": self.found or None,
            "hint": self.hint or None,
            "exit_code": self.exit_code,
        }


class InputError(HalcmdError):
    """A file, table, column or row is not as it must be."""


class DataError(HalcmdError):
    """Voxels or numbers are not as they must be."""


class DeviceError(HalcmdError):
    """The device that was asked for is not there."""


class ProcessLost(HalcmdError):
    """Another process of the job has ended, or hangs, before its work was done.

    Parameters
    ----------
    found : str
        What is known of the reason.
    """

    def __init__(self, found: str) -> None:
        super().__init__(
            "another process of this job has ended, or hangs",
            found=found,
            hint="the same command again, with --resume where it has that option: it goes on from "
            "the last checkpoint, with any number of processes",
        )


class ModelError(HalcmdError):
    """A model does not fit the data, or its file cannot be used."""


class OptionError(HalcmdError):
    """The command line cannot be carried out as it stands."""

    exit_code = 2


class NothingToQuery(HalcmdError):
    """No particle is left to ask for, or the stop rule is met; ends a ``while`` loop of queries."""

    exit_code = 3


class Aborted(HalcmdError):
    """RELION asked the job to stop."""

    exit_code = 4


class DryRun(Exception):
    """Everything was checked and nothing was written."""


class Followed(Exception):
    """A process that is not the first has done its share of the work; the first one writes."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint such as ``did you mean rlnTomoName?``, or the list of choices where none is close."""
    choices = list(choices)
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return "one of " + ", ".join(choices) if choices else ""


def first_few(items: Iterable[object], shown: int = 3) -> str:
    """``12 (a, b, c, ...)``: a count and the first few of a list of offenders."""
    texts = [str(item) for item in items]
    more = ", ..." if len(texts) > shown else ""
    return f"{len(texts):,} ({', '.join(texts[:shown])}{more})"
