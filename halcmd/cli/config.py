"""``--config FILE``: settings from TOML, one table per subcommand."""

import tomllib
from pathlib import Path
from typing import Any

import typer

from halcmd.errors import InputError, did_you_mean
from halcmd.formats.files import read_text

_NO_SETTING = {"config", "help"}


def use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's settings the defaults of this command.

    Command line and environment win over them, because Typer asks its default map last.
    """
    if path is None:
        return None
    try:
        tables = tomllib.loads(read_text(path))
    except InputError as error:
        raise typer.BadParameter(f"{error.message}: {path}") from error
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{path} is no TOML file: {error}") from error
    names = _setting_names(context)
    repeated = {p.name for p in context.command.params if getattr(p, "multiple", False)}
    found = {}
    own = _own_table(context, tables, path)
    for key, value in own.items():
        plain = key.replace("_", "-")
        if plain not in names:
            hint = did_you_mean(plain, sorted(names))
            raise typer.BadParameter(
                f"{path}: unknown setting {key} in [{context.info_name}]; {hint}"
            )
        is_one = names[plain] in repeated and not isinstance(value, list)
        found[names[plain]] = [value] if is_one else value
    context.default_map = found
    return path


def _own_table(context: typer.Context, tables: dict[str, Any], path: Path) -> dict[str, Any]:
    """The table of this subcommand; anything else than tables of subcommands is an error."""
    step = str(context.info_name)
    steps = sorted(getattr(context.parent and context.parent.command, "commands", {step: None}))
    for key, value in tables.items():
        if not isinstance(value, dict):
            raise typer.BadParameter(f"{path}: {key} stands in no table, such as [{step}]")
        if key.replace("_", "-") not in steps:
            hint = did_you_mean(key.replace("_", "-"), steps)
            raise typer.BadParameter(f"{path}: unknown subcommand [{key}]; {hint}")
    own: dict[str, Any] = tables.get(step, tables.get(step.replace("-", "_"), {}))
    return own


def settings_of(context: typer.Context) -> dict[str, object]:
    """The resolved settings under the names of their options; those without a value left out."""
    names = {parameter: option for option, parameter in reversed(_setting_names(context).items())}
    return {
        names[parameter]: _plain(value)
        for parameter, value in sorted(context.params.items())
        if parameter in names and value not in (None, (), [])
    }


def _setting_names(context: typer.Context) -> dict[str, str]:
    """Option name without dashes to parameter name; the first name of each option comes first."""
    names: dict[str, str] = {}
    for parameter in context.command.params:
        if parameter.name is None or parameter.name in _NO_SETTING:
            continue
        if getattr(parameter, "hidden", False):
            continue
        for option in [*parameter.opts, *parameter.secondary_opts]:
            if option.startswith("--no-"):
                continue
            names.setdefault(option.lstrip("-").replace("_", "-"), parameter.name)
    return names


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
