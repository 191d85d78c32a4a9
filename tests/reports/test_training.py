"""The report of train: what it says with many, few and no validation particles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halcmd.formats.model import ModelInfo
from halcmd.networks.classifier import new_network
from halcmd.reports import training
from halcmd.reports.training import write_pretraining_report, write_training_report
from halcmd.training.loop import Fit
from halcmd.training.pretraining import Pretrained

LABELLED = {"rod": 60, "ball": 40}


def made(
    folder: Path,
    held: np.ndarray,
    logits: np.ndarray,
    temperature: float = 2.0,
    folds: int = 0,
) -> str:
    """The text of report.html of a fit with these validation particles."""
    nothing = [float("nan")] * 2
    measured = [2.0, 1.0] if len(held) else nothing
    history = {"step": [1.0, 2.0], "train_loss": [2.0, 1.0]}
    history |= {"validation_loss": measured, "validation_accuracy": measured}
    network = new_network("compact", box=16, n_classes=2, widths=(8, 8, 8, 8))
    done = Fit(network, 2, 2, history, logits.astype(np.float32), temperature)
    provenance = {"halcmd": "0.1.0", "preset": "default", "seed": 5, "labelled": LABELLED}
    provenance |= {"folds": folds, "unlabelled": 1_344}
    info = ModelInfo(
        network="compact",
        widths=(8, 8, 8, 8),
        dropout=0.0,
        classes={"rod": 1, "ball": 2},
        box=16,
        pixel_size=12.0,
        contrast="dark",
        tilt_range=(-60.0, 54.0),
        temperature=temperature,
        provenance=provenance,
    )
    folder.mkdir(exist_ok=True)
    write_training_report(folder, done, info, held=held, model="0123456789abcdef")
    return (folder / "report.html").read_text()


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Curves and note of each reliability diagram."""
    found: list[Any] = []
    plot = training.plot_calibration

    def listen(path: Path, curves: dict[str, Any], *, note: str) -> None:
        found.append((curves, note))
        plot(path, curves, note=note)

    monkeypatch.setattr(training, "plot_calibration", listen)
    return found


def test_a_fit_worked_out_by_hand(tmp_path, notes):
    # softmax of (2 log 3, 0) is (0.9, 0.1); at temperature 2 it is (0.75, 0.25)
    logits = np.tile([2 * np.log(3), 0.0], (80, 1))
    held = np.array([0] * 60 + [1] * 20)  # three quarters are right
    text = made(tmp_path / "a", held, logits)
    assert "0.750 (60 of 80; 95 % interval 0.65 to 0.83)" in text
    assert "0.000 (0.150 before the temperature)" in text
    assert "100 labelled, 80 of them held out for validation" in text
    assert "16 px of 12 Å, 19.2 nm; particles are dark" in text
    assert "-60° to 54°" in text
    ((curves, note),) = notes
    assert note == "80 validation particles"
    assert list(curves) == [
        "as trained: calibration error 0.150",
        "with temperature: calibration error 0.000",
    ]
    before, after = curves.values()
    assert (before["count"].argmax(), after["count"].argmax()) == (13, 11)


def test_few_validation_particles_are_said_to_be_few(tmp_path, notes):
    made(tmp_path / "a", np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]])
    assert notes[0][1] == "3 validation particles: too few to judge by"


def test_no_validation_particle(tmp_path, notes):
    text = made(tmp_path / "a", np.zeros(0, dtype=np.intp), np.empty((0, 0)), 1.0)
    assert notes[0][0] == {}
    assert "no particle was held out" in notes[0][1]
    assert "how good the classifier is cannot be told" in text
    assert "nan" not in text.split("base64")[0]


def test_the_same_fit_gives_the_same_bytes(tmp_path):
    held, logits = np.array([0, 1]), np.eye(2)
    for name in ("a", "b"):
        made(tmp_path / name, held, logits)
    for name in ("training.png", "calibration.png", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_folds_are_named(tmp_path):
    held = np.array([0] * 60 + [1] * 40)
    text = made(tmp_path, held, np.tile([1.0, 0.0], (100, 1)), folds=3)
    assert "1,344 learnt from too" in text
    assert "100 of them held out for validation, in turn in 3 folds" in text


def test_a_pretrained_network_has_a_report_without_classes(tmp_path):
    network = new_network("compact", box=16, n_classes=0, widths=(8, 8, 8, 8))
    done = Pretrained(network, 2, {"step": [1.0, 2.0], "train_loss": [2.0, 1.0]})
    info = ModelInfo(
        network="compact",
        widths=(8, 8, 8, 8),
        dropout=0.0,
        classes={},
        box=16,
        pixel_size=12.0,
        contrast="dark",
        tilt_range=None,
        provenance={"halcmd": "0.1.0", "seed": 5, "steps": 2, "pretrained_on": 1400},
    )
    write_pretraining_report(tmp_path, done, info, "0123456789abcdef")
    text = (tmp_path / "report.html").read_text()
    assert "1,400, all but those of the test" in text
    assert "unknown" in text
    assert "data:image/png;base64," in text
    assert "Classes" not in text
