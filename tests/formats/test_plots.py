"""Plots are written whole, the same each time, for awkward inputs too."""

from pathlib import Path

import numpy as np
import pytest

from halcmd.formats.plots import plot_calibration, plot_confusion, plot_training

PNG = b"\x89PNG\r\n\x1a\n"


def test_training_curves_are_a_png_and_the_same_each_time(tmp_path: Path) -> None:
    history = {
        "step": [1, 2, 3, 4],
        "train_loss": [1.9, 1.2, 0.8, 0.5],
        "validation_loss": [float("nan"), 1.4, float("nan"), 0.9],
        "validation_accuracy": [float("nan"), 0.4, float("nan"), 0.7],
    }
    for name in ("a.png", "b.png"):
        plot_training(tmp_path / name, history)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_training_curves_without_a_validation_set(tmp_path: Path) -> None:
    plot_training(tmp_path / "a.png", {"step": [1, 2], "train_loss": [1.0, 0.5]})
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("classes", [1, 2, 7, 23, 70])
def test_confusion_matrix_of_any_size(tmp_path: Path, classes: int) -> None:
    matrix = np.random.default_rng(classes).integers(0, 50, (classes, classes))
    matrix[-1] = 0  # a class that was only predicted
    plot_confusion(tmp_path / "a.png", matrix, [f"class_{number}" for number in range(classes)])
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_matrix_that_does_not_fit_the_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 classes"):
        plot_confusion(tmp_path / "a.png", np.ones((3, 3)), ["a", "b"])
    assert not list(tmp_path.iterdir())


def columns(count: list[float]) -> dict[str, np.ndarray]:
    """A reliability diagram with these counts, all right."""
    known = np.where(np.array(count) > 0, 1.0, np.nan)
    middle = (np.arange(len(count)) + 0.5) / len(count)
    ends = {"low": 0.4 * known, "high": known * (1 - 1e-17)}
    return {"count": np.array(count), "confidence": middle * known, "accuracy": known} | ends


@pytest.mark.parametrize("curves", [0, 1, 2])
def test_reliability_diagram_with_empty_bins_and_without_any(tmp_path: Path, curves: int) -> None:
    given = {f"curve {number}": columns([0, 2, 0, 1, 40]) for number in range(curves)}
    for name in ("a.png", "b.png"):
        plot_calibration(tmp_path / name, given, note="43 particles")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
