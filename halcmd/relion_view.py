"""The table that RELION is to read images and classes from: ``relion.star``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.star import Table, number_of, text_of
from halcmd.particles import NOT_TRAINED, UNLABELLED, Particles, group_key

_NEEDED = ("rlnVoltage", "rlnSphericalAberration")
_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
_CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
_ORIGINS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGINS_IN_PIXELS = tuple(f"rlnOrigin{axis}" for axis in "XYZ")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUBTOMOGRAM_ANGLES = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
_PRIORS = tuple(f"{label}Prior" for label in _ANGLES)
"""Of angles within a turned subtomogram, so of no use for one that is not."""
_TOLERANCE = 0.01
_ROUNDING = 1e-3
"""Positions have three decimals in the table."""
_ASSUMED = {
    "rlnVoltage": "300.000000",
    "rlnSphericalAberration": "2.700000",
    "rlnAmplitudeContrast": "0.100000",
}


def relion_particles(particles: Particles, *, assume_optics: bool = False) -> Particles:
    """Particles with rlnImageName, rlnClassNumber and optics that match halcmd's boxes.

    Images: one .mrc per particle, where halcmd has written such; a row keeps its own rlnImageName
    otherwise, since RELION takes ``N@stack`` for a 2D slice. Boxes other than the input's lose
    rlnCtfImage, which describes another box.

    Parameters
    ----------
    particles : Particles
        With halImageName where halcmd knows the boxes.
    assume_optics : bool
        Write 300 kV, Cs 2.7 mm and amplitude contrast 0.1, with a warning, where the input has no
        such values. RELION 3.1 makes an empty file of a table without them.

    Raises
    ------
    InputError
        Voltage or Cs is unknown, and is not to be assumed.
    """
    table = _with_block_names(_with_optics_group(particles))
    table = _with_images(table)
    table = _with_class_numbers(table)
    return _with_versions(_with_complete_optics(table, assume=assume_optics))


def with_optics(particles: Particles, given: Mapping[str, str]) -> Particles:
    """The table with these columns (rlnVoltage, ...) in its optics, where they are missing."""
    if not given:
        return particles
    table = _with_optics_group(particles)
    optics = table.star.table("optics")
    assert optics is not None
    missing = {
        label: [value] * len(optics) for label, value in given.items() if label not in optics
    }
    return replace(table, star=table.star.with_table(optics.with_columns(missing)))


def with_microscopes(
    particles: Particles, tomograms: np.ndarray, optics: Mapping[str, Mapping[str, str]]
) -> Particles:
    """The table with the optics of the tomogram of each row, where its own optics lack them.

    A table without optics groups gets one for each microscope; those that are there are kept, and
    get what is missing if all their particles are of one microscope.

    Parameters
    ----------
    particles : Particles
        The table.
    tomograms : ndarray, shape (n,), object of str
        Tomogram of each row.
    optics : mapping of str to mapping of str to str
        rlnVoltage and so on of each of these tomograms.
    """
    kinds = {
        name: tuple((label, number_of(text)) for label, text in sorted(optics[name].items()))
        for name in dict.fromkeys(tomograms)
    }
    distinct = list(dict.fromkeys(kinds.values()))
    examples = [next(optics[n] for n in kinds if kinds[n] == kind) for kind in distinct]
    if len(distinct) == 1:
        return with_optics(particles, examples[0])
    microscope = {name: distinct.index(kind) for name, kind in kinds.items()}
    numbers = [microscope[name] for name in tomograms]
    if particles.star.table("optics") is None and not particles.has("rlnOpticsGroup"):
        groups = [str(number + 1) for number in numbers]
        particles = particles.with_columns({"rlnOpticsGroup": groups})
    table = _with_optics_group(particles)
    pairs = set(zip(table.text("rlnOpticsGroup"), numbers, strict=True))
    of_group = {group_key(group): number for group, number in pairs}
    if len(of_group) < len({(group_key(group), number) for group, number in pairs}):
        return particles
    own = table.star.table("optics")
    assert own is not None
    rows = [examples[of_group.get(group_key(group), 0)] for group in own.column("rlnOpticsGroup")]
    labels = [label for label in rows[0] if label not in own and all(label in row for row in rows)]
    columns = {label: [row[label] for row in rows] for label in labels}
    return replace(table, star=table.star.with_table(own.with_columns(columns)))


def class_of(particles: Particles) -> np.ndarray:
    """Class of each row, shape (n,), object: its label, else its predicted class, else none."""
    labels = particles.labels
    predicted = particles.text("halPredictedClass", "none")
    return np.where(labels != UNLABELLED, labels, predicted)


def _with_optics_group(particles: Particles) -> Particles:
    """The table with an optics table, and with a group of it for each particle."""
    optics = particles.star.table("optics")
    if optics is not None and "rlnOpticsGroup" in optics and particles.has("rlnOpticsGroup"):
        return particles
    if optics is None:
        groups = sorted(set(particles.text("rlnOpticsGroup", "1")))
        names = [f"opticsGroup{group}" for group in groups]
        columns = {"rlnOpticsGroup": groups, "rlnOpticsGroupName": names}
        optics = Table.from_columns("optics", columns)
    elif "rlnOpticsGroup" not in optics:
        numbers = [str(number) for number in range(1, len(optics) + 1)]
        optics = optics.with_columns({"rlnOpticsGroup": numbers})
    if not particles.has("rlnOpticsGroup"):
        first = optics.column("rlnOpticsGroup")[0]
        particles = particles.with_columns({"rlnOpticsGroup": [first] * len(particles)})
    others = tuple(table for table in particles.star.tables if table.name != "optics")
    return replace(particles, star=replace(particles.star, tables=(optics, *others)))


def _with_block_names(particles: Particles) -> Particles:
    """RELION 3.1 takes a file for one of its own kind by the block names optics and particles."""
    tables = tuple(
        replace(table, name="particles") if table.name == particles.block else table
        for table in particles.star.tables
    )
    return replace(particles, star=replace(particles.star, tables=tables), block="particles")


def _with_versions(particles: Particles) -> Particles:
    """A version comment before each block, as RELION writes it."""
    tables = tuple(table.with_version() for table in particles.star.tables)
    return replace(particles, star=replace(particles.star, tables=tables))


def _with_images(particles: Particles) -> Particles:
    if not particles.has("halImageName"):
        return particles
    names = particles.text("halImageName")
    if any("@" in name for name in names):
        return particles
    if particles.has("rlnImageName") and (particles.text("rlnImageName") == names).all():
        return particles
    changed = particles.with_columns({"rlnImageName": names})
    if not particles.has("halImagePixelSize"):
        return changed
    sizes = particles.number("halImagePixelSize")
    edges = particles.text("halImageSize")
    if not sizes.max() <= (1 + _TOLERANCE) * sizes.min() or len(set(edges)) > 1:
        raise InputError(
            "RELION needs boxes of one size and pixel size",
            where=str(particles.path),
            found=f"{', '.join(sorted(set(edges)))} px; {sizes.min():g} to {sizes.max():g} A",
            hint="extract with --angpix, or the tomograms of each voxel size apart",
        )
    optics = changed.star.table("optics")
    assert optics is not None
    count = len(optics)
    columns = {
        "rlnImagePixelSize": text_of([sizes[0]] * count, 6),
        "rlnImageSize": [str(edges[0])] * count,
        "rlnImageDimensionality": ["3"] * count,
    }
    if "rlnCtfDataAreCtfPremultiplied" in optics:
        columns["rlnCtfDataAreCtfPremultiplied"] = ["0"] * count
    optics = optics.without(["rlnTomoSubtomogramBinning"]).with_columns(columns)
    star = changed.star.with_table(optics)
    general = star.table("general")
    if general is not None and "rlnTomoSubTomosAre2DStacks" in general:
        flags = {"rlnTomoSubTomosAre2DStacks": ["0"] * len(general)}
        star = star.with_table(general.with_columns(flags))
    changed = replace(changed, star=star).without(["rlnCtfImage", "rlnTomoVisibleFrames"])
    return _with_poses(changed) if changed.has("halTomogramPixelSize") else changed


def _with_poses(particles: Particles) -> Particles:
    """Coordinates, origins and angles that go with the boxes which extract has cut.

    A box stands around a whole voxel, so the origin is what is left from there to the position
    (RELION subtracts it), and the coordinate is that voxel, in the unit that it had. Subtomograms
    of halcmd are not turned, so angles are those in the tomogram; of boxes which
    ``--apply-orientations`` has turned, both are zero.
    """
    turned = particles.text("halBoxAxes", "tomogram")[0] == "particle"
    positions = particles.positions
    voxels = particles.number("halTomogramPixelSize")[:, None]
    centres = positions if turned else np.rint(positions / voxels) * voxels
    columns = _recentred(particles, centres)
    for label, values in zip(_ORIGINS, (centres - positions).T, strict=True):
        columns[label] = text_of(values, 6)
    if particles.has("halAngleRot"):
        for label, own in zip(_ANGLES, ("Rot", "Tilt", "Psi"), strict=True):
            angles = np.zeros(len(particles)) if turned else particles.number(f"halAngle{own}")
            columns[label] = text_of(angles, 6)
    return particles.without((*_ORIGINS_IN_PIXELS, *_SUBTOMOGRAM_ANGLES, *_PRIORS)).with_columns(
        columns
    )


def _recentred(particles: Particles, centres: np.ndarray) -> dict[str, Sequence[str]]:
    """Coordinates of the centres, shape (n, 3), **xyz**, Angstrom, in the unit of the input.

    An input that has no RELION coordinates gets those of RELION 3.1: voxels of the tomogram.
    """
    shifts = np.stack([particles.number(f"halShift{axis}Angst", 0.0) for axis in "XYZ"], axis=1)
    unshifted = particles.positions - shifts
    if all(map(particles.has, _CENTRED)):
        labels, unit = _CENTRED, np.ones_like(centres)
    elif all(map(particles.has, _COORDINATES)):
        labels, unit = _COORDINATES, _angstrom_per_unit(particles, unshifted)
    else:
        voxels = particles.number("halTomogramPixelSize")
        return {
            "rlnMicrographName": particles.text("halTomogramFile").tolist(),
            **{
                label: text_of(values / voxels, 6)
                for label, values in zip(_COORDINATES, centres.T, strict=True)
            },
        }
    moved = (centres - unshifted) / unit
    return {
        label: text_of(_whole_if_near(particles.number(label) + moved[:, axis]), 6)
        for axis, label in enumerate(labels)
    }


def _whole_if_near(values: np.ndarray) -> np.ndarray:
    """Values, of which those next to a whole number become it: RELION cuts decimals off."""
    whole = np.rint(values)
    return np.where(np.abs(values - whole) < _ROUNDING, whole, values)


def _angstrom_per_unit(particles: Particles, unshifted: np.ndarray) -> np.ndarray:
    """How many Angstrom one unit of rlnCoordinate is, shape (n, 3): position over coordinate.

    All formats with these columns count from 0 at the first voxel, with one unit for each axis of a
    tomogram, or of the particles of one optics group in it.
    """
    units = np.repeat(particles.number("halTomogramPixelSize")[:, None], 3, axis=1)
    coordinates = np.stack([particles.number(label) for label in _COORDINATES], axis=1)
    groups = particles.text("rlnOpticsGroup", "1") + "/" + particles.text("rlnPixelSize", "")
    kinds = particles.tomograms + "/" + groups
    for kind in dict.fromkeys(kinds):
        rows = kinds == kind
        there, positions = (np.abs(v[rows]).sum(axis=0) for v in (coordinates, unshifted))
        known = (there > 0) & (positions > 0)
        units[np.ix_(rows, known)] = positions[known] / there[known]
    return units


def _with_class_numbers(particles: Particles) -> Particles:
    """Label or prediction as rlnClassNumber, for RELION's own select, split and display."""
    classes = class_of(particles)
    named = set(classes) - {"none", UNLABELLED, *NOT_TRAINED}
    if not named:
        return particles
    numbered = particles.with_classes(named)
    numbers = numbered.class_numbers()
    return numbered.with_columns({"rlnClassNumber": [str(numbers.get(c, 0)) for c in classes]})


def _with_complete_optics(particles: Particles, *, assume: bool) -> Particles:
    optics = particles.star.table("optics")
    assert optics is not None
    missing = [label for label in _NEEDED if label not in optics]
    if missing and not assume:
        raise InputError(
            f"RELION needs {' and '.join(missing)}, which the input does not have",
            where=f"{particles.path}, table optics",
            hint="--voltage 300 --cs 2.7, or a tomograms.star that has them",
        )
    if missing:
        log.warning(
            "relion.star: voltage and Cs are unknown; 300 kV and 2.7 mm are written. Give "
            "--voltage and --cs, or a tomograms.star that has them, before RELION uses the CTF"
        )
        count = len(optics)
        assumed = {k: [v] * count for k, v in _ASSUMED.items() if k not in optics}
        optics = optics.with_columns(assumed)
    optics = _with_pixel_size(particles, optics)
    return replace(particles, star=particles.star.with_table(optics))


def _with_pixel_size(particles: Particles, optics: Table) -> Table:
    """RELION 3.1 wants an image pixel size even where there are no images."""
    if "rlnImagePixelSize" in optics:
        return optics
    known = [v for v in particles.number("halImagePixelSize") if np.isfinite(v)]
    size = known[0] if known else 1.0
    return optics.with_columns({"rlnImagePixelSize": text_of([size] * len(optics), 6)})
