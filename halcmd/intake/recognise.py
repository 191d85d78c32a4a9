"""Which importer a file of picks is for, or why it has none."""

from halcmd.errors import InputError
from halcmd.formats.pick_file import PickFile
from halcmd.formats.star import Star
from halcmd.importers import IMPORTERS
from halcmd.registry import load

_FORMATS = "--format NAME (see --help), or a CSV file with the columns x,y,z,tomogram"
_AXES = (
    ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"),
    ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst"),
)
_PICKS = "a file with rlnCoordinateX, Y, Z or rlnCenteredCoordinateXAngst, YAngst, ZAngst"
_IN_TOMOGRAMS = "picks in tomograms, with rlnTomoName and coordinates in three dimensions"
_PARTICLES = "a particles.star"
_RUN_DATA = "its run_itNNN_data.star"
_TOMOGRAMS = "give it as --tomograms, and a file with picks as --i"
_TILT_SERIES = (
    "the tomograms.star of the reconstruction job, or a folder of tomograms, as --tomograms, and a "
    "file with picks as --i"
)
NO_COORDINATES = "these particles have no coordinates, so nothing can be extracted"
READY = "subtomograms that are cut already need no extract: give the file to the next step"
# Columns that say what a STAR file without coordinates is, and what to do with it; the first
# that is there counts.
_OTHER_FILES = (
    ("rlnTomoImportParticleFile", "this is a list of pick files", "give the files in it as --i"),
    (
        "rlnTomoTomogramsFile",
        "this optimisation set names no particles",
        "a file with picks as --i, and the tomograms.star that it names as --tomograms",
    ),
    # tomograms and tilt series
    ("rlnTomoSizeX", "these are tomograms, not picks", _TOMOGRAMS),
    ("rlnTomoTomogramBinning", "these are tomograms, not picks", _TOMOGRAMS),
    ("rlnNumberSubtomo", "these are tomograms for IsoNet, not picks", _TILT_SERIES),
    ("rlnTomoTiltSeriesStarFile", "these are tilt series, not picks", _TILT_SERIES),
    ("rlnTomoNominalStageTiltAngle", "this is a tilt series, not picks", _TILT_SERIES),
    ("wrpMovieName", "this is a tilt series of Warp, not picks", _TILT_SERIES),
    ("tilt_angle", "this is a wedge list of STOPGAP, not picks", "its motive list"),
    # jobs
    ("rlnPipeLineJobCounter", "this is RELION's list of jobs, not picks", _PARTICLES),
    (
        "rlnPipeLineNodeName",
        "this is a list of what a RELION job wrote, not picks",
        "a particles.star that it names",
    ),
    ("rlnJobIsContinue", "these are settings of a RELION job, not picks", "its particles.star"),
    ("rlnReferenceImage", "this is a model of RELION, not picks", _RUN_DATA),
    ("rlnExperimentalDataStarFile", "this is an optimiser file of RELION, not picks", _RUN_DATA),
    ("rlnIs3DSampling", "this is a sampling file of RELION, not picks", _RUN_DATA),
    ("rlnFinalResolution", "this is a postprocessing file of RELION, not picks", _PARTICLES),
    ("rlnSpectralIndex", "this is a resolution curve (FSC), not picks", _PARTICLES),
    ("rlnResolutionSquared", "this is a Guinier plot, not picks", _PARTICLES),
    ("rlnSelected", "this is a list of selected classes, not picks", "the particles.star with it"),
    ("rlnParticleNumber", "these are trajectories of particles, not picks", _PARTICLES),
    ("rlnTomoManifoldParams", "these are manifolds, not picks", "the particles picked on them"),
    # micrographs
    ("rlnMicrographMovieName", "these are micrographs, not picks", _PARTICLES),
    ("rlnMicrographCoordinates", "these are pick files of micrographs", _IN_TOMOGRAMS),
    # particles
    ("halParticleId", NO_COORDINATES, READY),
    ("rlnImageName", NO_COORDINATES, READY),
    ("rlnMicrographName", "this file names tomograms or micrographs, but no coordinates", _PICKS),
    ("rlnTomoName", "this file names tomograms, but no coordinates", _PICKS),
    ("rlnMaskName", "this file names a mask, but no coordinates", _PICKS),
    *(
        (column, NO_COORDINATES, _PICKS)
        for column in ("rlnTomoParticleName", "rlnAngleRot", "rlnOriginXAngst", "rlnOpticsGroup")
    ),
)
_DYNAMO_MAP = ("this is Dynamo's list of tomograms, not picks", "the .tbl that goes with it")
_TILTS = ("this is about a tilt series, not picks", _TILT_SERIES)
# The same for text that is no STAR file, by the end of its name.
_OTHER_TEXTS = {
    ".doc": _DYNAMO_MAP,
    ".vll": _DYNAMO_MAP,
    ".mdoc": _TILTS,
    ".tlt": _TILTS,
    ".rawtlt": _TILTS,
}
_STAR, _TEXT, _BINARY = "a STAR file", "plain text", "a binary file"
# What an importer must be given, whatever --format says.
_KINDS = {
    **dict.fromkeys(("halcmd", "m", "pytom", "stopgap", "cbox"), _STAR),
    **dict.fromkeys(("relion30", "relion31", "relion4", "relion5", "relion5_annotations"), _STAR),
    **dict.fromkeys(("warp", "warp_2d", "warp_matching"), _STAR),
    **dict.fromkeys(("copick", "ndjson", "dynamo", "imod_text", "coords", "csv"), _TEXT),
    **dict.fromkeys(("em", "imod"), _BINARY),
}

_ZIP = b"PK\x03\x04"


def recognise(file: PickFile, name: str = "auto") -> str:
    """The key of the importer for this file.

    Raises
    ------
    OptionError
        ``--format`` names no importer.
    InputError
        No importer knows the file, or ``--format`` names one for another kind of file.
    """
    if name != "auto":
        load(IMPORTERS, name, "format")
        _check_kind(file, name)
        return name
    key = known_as(file)
    if key is not None:
        return key
    if file.star is None and file.text and file.path.suffix.lower() in {".csv", ".tsv"}:
        load(IMPORTERS, "csv", "format").read(file)  # raises with the reason
    message, hint = _why_not(file)
    raise InputError(message, where=str(file.path), found=_contents(file), hint=hint)


def known_as(file: PickFile) -> str | None:
    """The first importer that recognises a file; None where none does."""
    return next((k for k in IMPORTERS if load(IMPORTERS, k, "format").recognises(file)), None)


def _check_kind(file: PickFile, name: str) -> None:
    """Refuse a file that the importer named cannot even look at: STAR, text or binary."""
    kind = _STAR if file.star is not None else _TEXT if file.text else _BINARY
    wanted = _KINDS.get(name, kind)
    if kind == wanted:
        return
    key = known_as(file)
    raise InputError(
        f"--format {name} reads {wanted}, and this is {kind}",
        where=str(file.path),
        found=_contents(file),
        hint=_why_not(file)[1] if key is None else f"--format {key}, or no --format",
    )


def _why_not(file: PickFile) -> tuple[str, str]:
    """What is wrong with a file that no importer knows, and what to try."""
    if file.star is not None:
        return _why_no_star(file.star)
    if not file.text and file.data.startswith(_ZIP):
        return "this is a workbook of a spreadsheet program, or an archive", "save it as CSV"
    if not file.text:
        return "this is neither text nor a binary format of picks", _FORMATS
    if any(line.startswith("_rln") for line in file.text.splitlines()):
        return "this STAR file has no line data_", "put data_particles before loop_"
    unknown = ("the format of these picks is not recognised", _FORMATS)
    return _OTHER_TEXTS.get(file.path.suffix.lower(), unknown)


def _why_no_star(star: Star) -> tuple[str, str]:
    if not any(table.labels for table in star.tables):
        return "this STAR file has no columns", _PICKS
    for table in star.tables:
        for axes in _AXES:
            missing = [axis for axis in axes if axis not in table]
            if missing == ["rlnCoordinateZ"]:
                return (
                    "these are picks in two dimensions: there is no rlnCoordinateZ",
                    "picks in tomograms; particles of micrographs cannot be classified here",
                )
            if 0 < len(missing) < len(axes):
                return f"a coordinate is missing: there is no {missing[0]}", _PICKS
    if _has_flat_images(star):
        return (
            "these are images in two dimensions, of micrographs or tilts, without coordinates",
            _IN_TOMOGRAMS,
        )
    for column, message, hint in _OTHER_FILES:
        if any(column in table for table in star.tables):
            return message, hint
    return "the format of these picks is not recognised", _FORMATS


def _has_flat_images(star: Star) -> bool:
    """Whether rlnImageName means images in two dimensions: as stated, else stacks."""
    column = "rlnImageDimensionality"
    stated = {
        text.partition(".")[0] for t in star.tables if column in t for text in t.column(column)
    }
    names = [t.column("rlnImageName")[0] for t in star.tables if "rlnImageName" in t and t.lines]
    if stated & {"2", "3"}:
        return bool(names) and "3" not in stated
    return any("@" in name or name.endswith(".mrcs") for name in names)


def _contents(file: PickFile) -> str:
    if file.star is None:
        return file.text.strip().splitlines()[0][:60] if file.text else f"{len(file.data):,} bytes"
    tables = [f"data_{t.name} ({', '.join(t.labels[:6])} ...)" for t in file.star.tables[:3]]
    return "; ".join(tables)
