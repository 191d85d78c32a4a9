"""Checks of JSON that holds points: fields by name, numbers that are numbers."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from halcmd.errors import InputError


def parse(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises
    ------
    InputError
        It is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("this is no valid JSON", where=where, found=str(error)[:80]) from error


def location(point: object, where: str) -> list[float]:
    """x, y and z of a point's location.

    Raises
    ------
    InputError
        It has none, or a value is no finite number.
    """
    place = point.get("location") if isinstance(point, Mapping) else None
    if not isinstance(place, Mapping):
        raise InputError("a point has no location", where=where, hint='"location": {"x", "y", "z"}')
    return [number(place.get(axis), f"location {axis}", where) for axis in "xyz"]


def number(value: object, name: str, where: str) -> float:
    """A finite number.

    Raises
    ------
    InputError
        It is none.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not np.isfinite(float(value)):  # type: ignore[arg-type]
        raise InputError(f"{name} must be a number", where=where, found=str(value)[:40])
    return float(value)  # type: ignore[arg-type]


def matrix(value: object, size: int, name: str, where: str) -> np.ndarray:
    """A square matrix, shape (size, size), float64.

    Raises
    ------
    InputError
        It is none, or holds something else than finite numbers.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (size, size) or not np.isfinite(array).all():
        raise InputError(
            f"{name} must be a matrix of {size} x {size} numbers",
            where=where,
            found=str(value)[:60],
        )
    return array


def plain(value: object) -> str:
    """A field as text: as it stands in the file, for numbers and words."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
