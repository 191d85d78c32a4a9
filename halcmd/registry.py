"""Plug-ins by name: a literal dict of import paths, loaded on use."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from halcmd.errors import OptionError, did_you_mean


def load(registry: Mapping[str, str], name: str, kind: str) -> ModuleType:
    """The module registered under ``name``.

    Parameters
    ----------
    registry : mapping of str to str
        Name to import path, such as ``{"margin": "halcmd.strategies.margin"}``.
    name : str
        The key.
    kind : str
        The word for the message, such as ``strategy``.

    Raises
    ------
    OptionError
        There is no such name.
    """
    if name not in registry:
        raise OptionError(f"unknown {kind} {name!r}", hint=did_you_mean(name, registry))
    return import_module(registry[name])
