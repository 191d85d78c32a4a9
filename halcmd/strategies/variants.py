"""A strategy with settings of its own in one word, such as ``hal:lambda=0.5:subsets=8``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from halcmd.errors import OptionError, did_you_mean
from halcmd.registry import load
from halcmd.strategies import STRATEGIES
from halcmd.strategies.options import described, parse
from halcmd.strategies.pool import QuerySettings

# Options of query that only some strategies read, by the field of QuerySettings they set.
_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "preset": ("preset", str),
    "subsets": ("subsets", int),
    "lambda": ("lambda_", float),
    "entropy-norm": ("entropy_norm", str),
    "discriminator": ("discriminator", str),
}
_READ = {"hal": tuple(_SETTINGS), "dal": ("preset", "subsets")}


def unread(strategy: str) -> set[str]:
    """Fields of QuerySettings that this strategy does not look at."""
    return {field for key, (field, _) in _SETTINGS.items() if key not in _READ.get(strategy, ())}


def variant(text: str, settings: QuerySettings) -> tuple[str, QuerySettings]:
    """Name of the strategy, and the settings with what the word says of them.

    Parameters
    ----------
    text : str
        ``STRATEGY:NAME=VALUE:NAME=VALUE``; a NAME is an option of ``query`` without its hyphens
        that this strategy reads (``subsets``, ``lambda``), or one of its own parameters, as
        ``--option`` takes them.
    settings : QuerySettings
        What holds where the word says nothing.

    Raises
    ------
    OptionError
        There is no such strategy, it has no such setting, or no such value of it.
    """
    name, *words = text.split(":")
    module = load(STRATEGIES, name, "strategy")
    shared, own = _READ.get(name, ()), described(module)
    options, changes = [], {}
    for word in words:
        key, _, value = word.partition("=")
        if key in shared:
            field, kind = _SETTINGS[key]
            changes[field] = _value(value, kind, text)
        elif key in own:
            options.append(word)
        else:
            raise OptionError(
                f"strategy {name} has no setting {key!r}",
                found=text,
                hint=did_you_mean(key, [*shared, *own]) or "it has none",
            )
    return name, replace(settings, **changes, options=parse(module, name, options))


def _value(value: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        noun = "a whole number" if kind is int else "a number"
        raise OptionError(f"{value!r} in {text} is not {noun}") from error
