"""A job folder as RELION expects it: fixed file names, exit markers, output nodes, abort request.

Marker names and node columns: RELION 5, pipeline_jobs.h and pipeliner.cpp. RELION 3.1 reads the
integer type of a node, 4 and 5 its label.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import tomli_w

from halcmd.errors import Aborted, InputError
from halcmd.formats.files import TEMPORARY, unwritable, write_text
from halcmd.formats.star import Star, Table, write_star

RUN_LOG = "run.log"
SETTINGS = "settings.toml"
CHECKPOINT = "checkpoint.pt"
CHECKPOINTS = (CHECKPOINT, *(f"checkpoint-fold{number}.pt" for number in range(1, 11)))
"""States of a training run that was stopped: of the last fit, and of those on folds before it."""
RESULTS = "results.jsonl"
RESUMABLE = (*CHECKPOINTS, RESULTS)
OUTPUTS = (
    "particles.star",
    "relion.star",
    "picks.star",
    "tomograms.star",
    "truth.star",
    "dropped.star",
    "model.safetensors",
    *CHECKPOINTS,
    "training.star",
    "training.png",
    "calibration.png",
    "embedding.npy",
    "features.npy",
    "embedding.png",
    "particles.png",
    "query.star",
    "query.csv",
    "labels.html",
    "classes.csv",
    "montage.png",
    "montage.pdf",
    "unused.star",
    "agreement.star",
    "evaluation.star",
    RESULTS,
    "curves.star",
    "curves.png",
    "penalty.png",
    "confusion.png",
    "confused.png",
    "report.html",
    "Subtomograms",
    "Tomograms",
    "Classes",
    "ArtiaX",
    "napari",
    "IMOD",
    "Dynamo",
)
"""Every name that a step may write in its folder, besides the log, the settings and the markers."""

_MARKERS = {"success": "SUCCESS", "failure": "FAILURE", "aborted": "ABORTED"}
_ABORT_NOW = "RELION_JOB_ABORT_NOW"
_NODES = "RELION_OUTPUT_NODES.star"
_PARTICLES = (3, "ParticleGroupMetadata.star.relion")
_COORDINATES = (2, "MicrographCoordsGroup.star.relion")
_NODE_TYPES = {
    "particles.star": _PARTICLES,
    "relion.star": _PARTICLES,
    "query.star": _PARTICLES,
    "picks.star": _COORDINATES,
}
"""Tables that RELION offers as inputs of later jobs, each with its number and its label."""


def check_free(folder: Path, *, resume: bool = False) -> None:
    """Raise InputError where the folder holds output that the run would replace.

    With ``resume`` that is output of a finished run, which leaves nothing to go on with.
    """
    there = [name for name in OUTPUTS if (folder / name).exists()]
    can_resume = bool({*RESUMABLE} & {*there})
    if there and not (resume and can_resume):
        raise InputError(
            "there is output of an earlier run" + (", which is finished" if resume else ""),
            where=str(folder),
            found=", ".join(there),
            hint=("--resume to go on with it, " if can_resume else "")
            + "--overwrite to replace it, or another --output folder",
        )


def check_apart(folder: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError where an input is among the outputs that would be replaced."""
    for path in inputs:
        with contextlib.suppress(ValueError):  # not in the folder
            inside = path.resolve().relative_to(folder.resolve()).parts
            if inside and inside[0] in OUTPUTS:
                raise InputError(
                    "an input stands in the output folder, where it would be replaced",
                    where=str(path),
                    hint="another --output folder",
                )


def prepare(folder: Path) -> bool:
    """Make the folder, try that it can be written, remove stale markers and unfinished files.

    Returns
    -------
    bool
        True where the folder was not there before.

    Raises
    ------
    InputError
        It cannot be written.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error
    for word in _MARKERS.values():
        (folder / f"RELION_JOB_EXIT_{word}").unlink(missing_ok=True)
    for place in (folder, *(folder / name for name in OUTPUTS)):  # not those of other jobs below
        for left_over in place.glob(f"{TEMPORARY}*"):  # of a run that was killed
            left_over.unlink(missing_ok=True)
    return new


def is_marked(folder: Path) -> bool:
    """Whether a marker says how a run in this folder ended."""
    return any((folder / f"RELION_JOB_EXIT_{word}").exists() for word in _MARKERS.values())


def mark(folder: Path, outcome: str) -> None:
    """Leave the marker that tells RELION how the job ended: success, failure or aborted.

    The abort request goes, also where it came too late: it would stop the next run.
    """
    (folder / _ABORT_NOW).unlink(missing_ok=True)
    (folder / f"RELION_JOB_EXIT_{_MARKERS[outcome]}").touch()


def is_of_relion(folder: Path) -> bool:
    """Whether RELION has made this folder for a job: it then holds a note of the command."""
    return (folder / "note.txt").exists()


def stop_if_asked(folder: Path) -> None:
    """Raise Aborted where RELION has put its abort file into the folder."""
    if (folder / _ABORT_NOW).exists():
        raise Aborted("stopped by RELION's abort file", where=str(folder / _ABORT_NOW))


def write_output_nodes(folder: Path) -> None:
    """Tell RELION which tables the job has made that later jobs can take."""
    made = {name: kind for name, kind in _NODE_TYPES.items() if (folder / name).exists()}
    columns: dict[str, Sequence[object]] = {
        "rlnPipeLineNodeName": [str(folder / name) for name in made],
        "rlnPipeLineNodeType": [number for number, _ in made.values()],
        "rlnPipeLineNodeTypeLabel": [label for _, label in made.values()],
    }
    write_star(folder / _NODES, Star((Table.from_columns("output_nodes", columns),)))


def write_settings(folder: Path, step: str, settings: Mapping[str, object]) -> None:
    """Write every resolved setting as TOML; ``--config`` takes the file back."""
    write_text(folder / SETTINGS, tomli_w.dumps({step: dict(settings)}))


def remove_stale(folder: Path, since: float) -> None:
    """Remove the outputs of an earlier run that this one, begun at ``since``, did not write.

    Parameters
    ----------
    folder : Path
        The job folder.
    since : float
        Seconds since the epoch, by the clock of the file system.
    """
    _remove(folder, lambda written: written < since)


def remove_written(folder: Path, since: float) -> None:
    """Remove what a failed run, begun at ``since``, had written, but for what it can go on from."""
    _remove(folder, lambda written: written >= since, keep=RESUMABLE)


def _remove(
    folder: Path, is_unwanted: Callable[[float], bool], *, keep: Sequence[str] = ()
) -> None:
    for name in OUTPUTS:
        path = folder / name
        for item in [*path.iterdir()] if path.is_dir() else [path]:
            if item.is_file() and name not in keep and is_unwanted(item.stat().st_mtime):
                item.unlink()
        if path.is_dir():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def discard(folder: Path) -> None:
    """Remove a folder that this command made and that holds nothing but its log and settings."""
    made = {RUN_LOG, SETTINGS}
    if {item.name for item in folder.iterdir()} <= made:
        shutil.rmtree(folder)


def file_time(folder: Path) -> float:
    """The time that the file system gives to a file written now."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return Path(file.name).stat().st_mtime
