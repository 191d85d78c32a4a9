"""A file that may hold picks: opening it, finding its importer, or saying why it has none."""

import codecs
from dataclasses import dataclass
from pathlib import Path

from halcmd.errors import InputError
from halcmd.formats.files import read_text, unreadable
from halcmd.formats.star import Star, read_star
from halcmd.importers import IMPORTERS
from halcmd.registry import load

_FORMATS = "--format NAME (see --help), or a CSV file with the columns x,y,z,tomogram"
_PICKS = "a file with rlnCoordinateX, Y, Z or rlnCenteredCoordinateXAngst, YAngst, ZAngst"
_TOMOGRAMS = "give it as --tomograms, and a file with picks as --i"
# Columns that say what a STAR file without coordinates is, and what to do with it.
_OTHER_FILES = (
    ("rlnTomoImportParticleFile", "this is a list of pick files", "give the files in it as --i"),
    ("rlnTomoSizeX", "these are tomograms, not picks", _TOMOGRAMS),
    ("rlnTomoTiltSeriesStarFile", "these are tilt series, not picks", _TOMOGRAMS),
    ("rlnTomoNominalStageTiltAngle", "this is a tilt series, not picks", _TOMOGRAMS),
    ("rlnPipeLineJobCounter", "this is RELION's list of jobs, not picks", "a particles.star"),
    (
        "rlnReferenceImage",
        "this is a model of RELION, not picks",
        "its run_itNNN_data.star",
    ),
    ("rlnSelected", "this is a list of selected classes, not picks", "the particles.star with it"),
    ("rlnMicrographMovieName", "these are micrographs, not picks", "a particles.star"),
    (
        "rlnImageName",
        "these particles have no coordinates, so nothing can be extracted",
        "subtomograms that are cut already need no extract: give the file to the next step",
    ),
    ("rlnMicrographName", "this file names tomograms or micrographs, but no coordinates", _PICKS),
    ("rlnTomoName", "this file names tomograms, but no coordinates", _PICKS),
)


@dataclass(frozen=True)
class PickFile:
    """A file that may hold picks.

    Attributes
    ----------
    path : Path
        The file.
    data : bytes
        All of it.
    text : str
        The same as text; empty where it is none.
    star : Star or None
        Its tables, where it is a STAR file.
    """

    path: Path
    data: bytes
    text: str
    star: Star | None


def open_pick_file(path: Path) -> PickFile:
    """A file, decoded where it is text and parsed where it is STAR.

    Raises
    ------
    InputError
        It is missing or empty, or is a STAR file with a fault.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    text = _text(path, data)
    if not data.strip() or (text and not text.strip()):
        raise InputError("the file is empty", where=str(path))
    is_star = any(line.lstrip().startswith("data_") for line in text.splitlines())
    return PickFile(path, data, text, read_star(path) if is_star else None)


def recognise(file: PickFile, name: str = "auto") -> str:
    """The key of the importer for this file.

    Raises
    ------
    OptionError
        ``--format`` names no importer.
    InputError
        No importer knows the file.
    """
    if name != "auto":
        load(IMPORTERS, name, "format")
        return name
    for key in IMPORTERS:
        if load(IMPORTERS, key, "format").recognises(file):
            return key
    message, hint = _why_not(file)
    raise InputError(message, where=str(file.path), found=_contents(file), hint=hint)


def _why_not(file: PickFile) -> tuple[str, str]:
    """What is wrong with a file that no importer knows, and what to try."""
    if file.star is None:
        if not file.text:
            return "this is neither text nor a binary format of picks", _FORMATS
        if any(line.startswith("_rln") for line in file.text.splitlines()):
            return "this STAR file has no line data_", "put data_particles before loop_"
        return "the format of these picks is not recognised", _FORMATS
    tables = file.star.tables
    if any("rlnCoordinateX" in t and "rlnCoordinateZ" not in t for t in tables):
        return (
            "these are picks in two dimensions: there is no rlnCoordinateZ",
            "picks in tomograms; particles of micrographs cannot be classified here",
        )
    if any("rlnImageName" in t and t.lines and "@" in t.column("rlnImageName")[0] for t in tables):
        return (
            "these are particles of micrographs: images in two dimensions, without coordinates",
            "picks in tomograms, with rlnTomoName and coordinates in three dimensions",
        )
    for column, message, hint in _OTHER_FILES:
        if any(column in table for table in tables):
            return message, hint
    return "the format of these picks is not recognised", _FORMATS


def _contents(file: PickFile) -> str:
    if file.star is None:
        return file.text.strip().splitlines()[0][:60] if file.text else f"{len(file.data):,} bytes"
    tables = [f"data_{t.name} ({', '.join(t.labels[:6])} ...)" for t in file.star.tables[:3]]
    return "; ".join(tables)


def _text(path: Path, data: bytes) -> str:
    """The file as text; empty where it is none."""
    if b"\0" in data and data[:2] not in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return ""
    try:
        return read_text(path)
    except InputError:
        return ""
