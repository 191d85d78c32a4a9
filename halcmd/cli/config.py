"""``--config FILE``: settings from TOML, one table per subcommand."""

import tomllib
from pathlib import Path

import typer

from halcmd.errors import did_you_mean

_NO_SETTING = {"config", "help"}


def use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's settings the defaults of this command.

    Command line and environment win over them, because Typer asks its default map last.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{path} is no TOML file: {error}") from error
    names = _setting_names(context)
    step = str(context.info_name)
    own = tables.get(step, tables.get(step.replace("-", "_"), {}))
    if not isinstance(own, dict):
        raise typer.BadParameter(f"{path}: [{step}] must be a table")
    found = {}
    for key, value in own.items():
        plain = key.replace("_", "-")
        if plain not in names:
            hint = did_you_mean(plain, sorted(names))
            raise typer.BadParameter(f"{path}: unknown setting {key} in [{step}]; {hint}")
        found[names[plain]] = value
    context.default_map = found
    return path


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
