"""A strategy's own parameters, as ``--option NAME=VALUE`` gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, TypeVar

from halcmd.errors import OptionError, did_you_mean

_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Own:
    """What one parameter of a strategy may be.

    Attributes
    ----------
    meaning : str
        For the docs and ``halcmd info``.
    low, high : float
        Range of a number, both included.
    choices : tuple of str
        Words that it may be; empty for a number.
    """

    meaning: str
    low: float = 0.0
    high: float = float("inf")
    choices: tuple[str, ...] = ()


def own(default: Any, meaning: str, **limits: Any) -> Any:
    """A field of a strategy's ``Options``: its default, its meaning, and what it may be."""
    return field(default=default, metadata={"own": Own(meaning, **limits)})


def described(module: ModuleType) -> dict[str, tuple[Any, Own]]:
    """Default and meaning of each parameter of a strategy, by name."""
    options = getattr(module, "Options", None)
    if options is None:
        return {}
    return {each.name: (each.default, each.metadata["own"]) for each in fields(options)}


def options_of(given: object, kind: type[_Options]) -> _Options:
    """The options that were given to a strategy, or its defaults."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise TypeError(f"{given} are options of another strategy")
    return given


def parse(module: ModuleType, strategy: str, texts: Sequence[str]) -> Any:
    """The strategy's ``Options`` with what NAME=VALUE texts say; None where it has none.

    Raises
    ------
    OptionError
        There is no such parameter, or no such value of it.
    """
    known = described(module)
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in known:
            raise OptionError(
                f"strategy {strategy} has no parameter {name!r}",
                found=f"--option {text}",
                hint=did_you_mean(name, known)
                if known
                else f"it has none; halcmd query --strategy {strategy} goes without --option",
            )
        default, what = known[name]
        found[name] = _value(value, type(default), what, text)
    return module.Options(**found) if known else None


def _value(text: str, kind: type, what: Own, whole: str) -> Any:
    if what.choices:
        if text not in what.choices:
            raise OptionError(
                f"--option {whole} is not one of its values", hint=did_you_mean(text, what.choices)
            )
        return text
    try:
        number = kind(text)
    except ValueError as error:
        noun = "a whole number" if kind is int else "a number"
        raise OptionError(f"--option {whole} is not {noun}", hint=what.meaning) from error
    if not what.low <= number <= what.high:
        raise OptionError(
            f"--option {whole} is out of range",
            hint=f"from {what.low:g}"
            + (f" to {what.high:g}" if what.high != float("inf") else " upwards"),
        )
    return number
