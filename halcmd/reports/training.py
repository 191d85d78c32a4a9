"""What train shows: learning curves, calibration, and the report that holds both."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from halcmd.calibration import calibration_error, reliability, wilson
from halcmd.formats.model import ModelInfo
from halcmd.formats.plots import plot_calibration, plot_training
from halcmd.formats.report import Listing, Picture, write_report
from halcmd.formats.star import Star, Table, text_of, write_star
from halcmd.reports.wording import about_boxes, plural
from halcmd.training.loop import Fit
from halcmd.training.pretraining import Pretrained

_STAR_NAMES = {
    "train_loss": "halTrainLoss",
    "validation_loss": "halValidationLoss",
    "validation_accuracy": "halValidationAccuracy",
}
_ENOUGH_FOR_CALIBRATION = 50
_BEFORE, _AFTER = "as trained", "with temperature"

Floats = NDArray[np.float64]


def write_curves(path: Path, history: Mapping[str, Sequence[float]]) -> None:
    """Write training.star: loss, and validation loss and accuracy where they were looked at."""
    columns = {"halStep": [str(int(step)) for step in history["step"]]}
    for name, label in _STAR_NAMES.items():
        if name in history:
            columns[label] = text_of(history[name], 6)
    write_star(path, Star((Table.from_columns("training", columns),)))


def write_training_report(
    folder: Path, done: Fit, info: ModelInfo, *, held: NDArray[np.intp], model: str
) -> None:
    """Write training.png, calibration.png and report.html of a fit.

    Parameters
    ----------
    folder : Path
        Job folder.
    done : Fit
        The fit.
    info : ModelInfo
        What the model file says.
    held : ndarray, shape (n,), int
        Place of the true class of each validation particle; empty where there is none.
    model : str
        Hash of the model.
    """
    confidences, right = _validation(done, held, info.temperature)
    labelled: dict[str, int] = info.provenance["labelled"]
    plot_training(folder / "training.png", done.history)
    _plot_calibration(folder / "calibration.png", confidences, right)
    write_report(
        folder / "report.html",
        title="Training",
        summary=f"A classifier of {plural(len(labelled), 'class', 'classes')}, fitted to "
        f"{plural(sum(labelled.values()), 'labelled particle')}.",
        facts=_facts(done, info, len(held)) | _measures(confidences, right, info),
        pictures=_pictures(folder, is_validated=bool(len(held))),
        listings=[_classes(labelled, held)],
        provenance={
            "halcmd": str(info.provenance["halcmd"]),
            "seed": str(info.provenance["seed"]),
            "model": model,
        },
    )


def write_pretraining_report(folder: Path, done: Pretrained, info: ModelInfo, model: str) -> None:
    """Write training.png and report.html of a network pretrained without labels."""
    plot_training(folder / "training.png", done.history)
    tilts = info.tilt_range
    facts = {
        "network": info.network,
        "particles": f"{info.provenance['pretrained_on']:,}, all but those of the test",
        "boxes": about_boxes(info.box, info.pixel_size, info.contrast),
        "tilt range": f"{tilts[0]:g}° to {tilts[1]:g}°" if tilts else "unknown",
        "optimiser steps": f"{done.steps:,}",
    }
    caption = (
        "How well the two views of each particle are found among all views of a batch: the loss "
        "should fall and level off. It says nothing of classes."
    )
    write_report(
        folder / "report.html",
        title="Pretraining",
        summary="A network that tells particles apart whatever their pose, for halcmd train "
        "--init-model.",
        facts=facts,
        pictures=[Picture(folder / "training.png", "Learning curve", caption)],
        listings=[],
        provenance={name: str(info.provenance[name]) for name in ("halcmd", "seed")}
        | {"model": model},
    )


def _validation(
    done: Fit, held: NDArray[np.intp], temperature: float
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """Confidence before and after the temperature, and which predictions are right."""
    if not len(held):
        return {}, np.zeros(0, dtype=bool)
    logits = done.validation_logits.astype(np.float64)
    divisors = {_BEFORE: 1.0, _AFTER: temperature}
    confidences = {name: softmax(logits / by, axis=1).max(axis=1) for name, by in divisors.items()}
    return confidences, logits.argmax(axis=1) == held


def _plot_calibration(path: Path, confidences: dict[str, Floats], right: NDArray[np.bool_]) -> None:
    if not confidences:
        note = "no particle was held out for validation:\ncalibration cannot be judged"
        plot_calibration(path, {}, note=note)
        return
    note = plural(len(right), "validation particle")
    if len(right) < _ENOUGH_FOR_CALIBRATION:
        note += ": too few to judge by"
    curves = {
        f"{name}: calibration error {calibration_error(values, right):.3f}": reliability(
            values, right
        )
        for name, values in confidences.items()
    }
    plot_calibration(path, curves, note=note)


def _facts(done: Fit, info: ModelInfo, held: int) -> dict[str, str]:
    total = sum(info.provenance["labelled"].values())
    tilts = info.tilt_range
    count = info.provenance["folds"]
    folds = f", in turn in {count} folds; then all were trained on" if count else ""
    return {
        "network": f"{info.network}, preset {info.provenance['preset']}",
        "particles": f"{total:,} labelled, {held:,} of them held out for validation{folds}",
        "unlabelled particles": f"{info.provenance['unlabelled']:,} learnt from too",
        "boxes": about_boxes(info.box, info.pixel_size, info.contrast),
        "tilt range": f"{tilts[0]:g}° to {tilts[1]:g}°" if tilts else "unknown",
        "optimiser steps": f"{done.steps:,}; the weights of step {done.best_step:,} are kept",
    }


def _measures(
    confidences: dict[str, Floats], right: NDArray[np.bool_], info: ModelInfo
) -> dict[str, str]:
    """What the validation particles say."""
    if not confidences:
        return {
            "validation": "none: how good the classifier is cannot be told, and its probabilities "
            "are not calibrated"
        }
    hits, count = int(right.sum()), len(right)
    low, high = wilson(np.array(float(hits)), np.array(float(count)))
    before, after = (calibration_error(confidences[name], right) for name in (_BEFORE, _AFTER))
    return {
        "validation accuracy": f"{hits / count:.3f} ({hits:,} of {count:,}; 95 % interval "
        f"{low:.2f} to {high:.2f})",
        "calibration error": f"{after:.3f} ({before:.3f} before the temperature)",
        "temperature": f"{info.temperature:.2f}",
    }


def _pictures(folder: Path, *, is_validated: bool) -> list[Picture]:
    training = (
        "The loss should fall and level off; a validation loss that rises while the training loss "
        "falls means that the labelled particles are being learnt by heart."
        if is_validated
        else "The loss should fall and level off; without validation particles nothing tells how "
        "well other particles are classified."
    )
    calibration = (
        "On the diagonal, probabilities mean what they say: of the particles at 0.8, four in five "
        "are right; beneath it the classifier is too sure, above it too cautious. Bars are 95 % "
        "intervals, wide where there are few particles. The temperature is fitted to these same "
        "particles, so that others will be a little further off."
        if is_validated
        else "With more labels, or a larger share for validation, this shows whether probabilities "
        "mean what they say."
    )
    return [
        Picture(folder / "training.png", "Learning curves", training),
        Picture(folder / "calibration.png", "Calibration", calibration),
    ]


def _classes(labelled: dict[str, int], held: NDArray[np.intp]) -> Listing:
    counts = np.bincount(held, minlength=len(labelled))
    rows = [
        (name, f"{count:,}", f"{part:,}")
        for (name, count), part in zip(labelled.items(), counts, strict=True)
    ]
    return Listing("Classes", ("class", "labelled", "held out for validation"), rows)
