"""5,000 particles come back from many programs, shuffled and filtered: none gets a wrong label."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dynamotable
import numpy as np
import pandas as pd
import pytest
import starfile

from halcmd.formats.mrc_writing import write_volume
from halcmd.formats.star import read_star
from halcmd.intake.labels import read_labels
from halcmd.particles import UNLABELLED, Particles, new_particles
from halcmd.steps.label_import import LabelImportResult, Rules, label_import
from halcmd.tables import read_particles, write_particles

COUNT, TOMOGRAMS = 5000, 5
CLASSES = ("apo", "holo", "junk")
VOXEL = 10.0
SHAPE = (70, 120, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("returns")


@pytest.fixture(scope="module")
def table(folder: Path) -> Particles:
    """Particles about 10 voxels apart in the tomograms 001 to 005, at places between voxels."""
    rng = np.random.default_rng(7)
    steps = (np.arange(s - 10) for s in SHAPE[::-1])
    grid = np.stack(np.meshgrid(*(s[5::10] for s in steps), indexing="ij"), -1).reshape(-1, 3)
    names, voxels = [], []
    for number in range(1, TOMOGRAMS + 1):
        write_volume(folder / f"{number:03d}.mrc", rng.normal(size=SHAPE), VOXEL)
        chosen = np.concatenate([grid, grid + 5])[: COUNT // TOMOGRAMS]
        names += [f"{number:03d}"] * len(chosen)
        voxels.append(chosen + rng.uniform(-1.5, 1.5, chosen.shape))
    places = np.concatenate(voxels)
    ids = [f"{name}/{n:06d}" for n, name in enumerate(names)]
    columns: dict[str, Any] = {
        "rlnMicrographName": [f"{name}.mrc" for name in names],
        **{f"rlnCoordinate{a}": [f"{v:.4f}" for v in places[:, n]] for n, a in enumerate("XYZ")},
        "rlnImageName": [f"Extract/Subtomograms/{name.replace('/', '_')}.mrc" for name in ids],
        "rlnOpticsGroup": ["1"] * COUNT,
        "halParticleId": ids,
        "halTomogram": names,
        "halTomogramFile": [str(folder / f"{name}.mrc") for name in names],
        "halTomogramPixelSize": [f"{VOXEL:.5f}"] * COUNT,
    }
    for n, axis in enumerate("XYZ"):
        columns[f"halPosition{axis}Angst"] = [f"{v * VOXEL:.3f}" for v in places[:, n]]
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": ["300.0"],
        "rlnSphericalAberration": ["2.7"],
        "rlnMicrographPixelSize": [f"{VOXEL}"],
    }
    write_particles(folder / "particles.star", new_particles(columns, optics=optics))
    return read_particles([folder / "particles.star"])


@dataclass
class Returned:
    """What another program gives back of the table, and the rows that have an answer in it."""

    files: list[Path]
    rows: np.ndarray
    reading: dict[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    by: str = "coordinate"
    one_label: bool = False


def answers() -> np.ndarray:
    return np.array(CLASSES, dtype=object)[np.random.default_rng(11).integers(0, 3, COUNT)]


def voxels(table: Particles) -> np.ndarray:
    return table.positions / VOXEL


Maker = Callable[[Particles, Path, np.random.Generator], Returned]


def some(rng: np.random.Generator) -> np.ndarray:
    """Half of the rows, in any order."""
    return rng.permutation(COUNT)[: COUNT // 2]


def spreadsheet(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """BOM, semicolons, CRLF, decimal commas, other headers, sorted by another column."""
    rows = some(rng)
    words = {"apo": "yes", "holo": "no", "junk": "?"}
    given = [words[label] for label in answers()[rows]]
    given[::7] = [""] * len(given[::7])
    score = rng.uniform(size=len(rows))
    frame = pd.DataFrame(
        {
            "Score": [f"{value:.3f}".replace(".", ",") for value in score],
            "Particle_ID": table.ids[rows],
            "Answer": given,
            "tomo": [int(name) for name in table.tomograms[rows]],
        }
    ).sort_values("Score")
    text = frame.to_csv(index=False, sep=";", lineterminator="\r\n")
    (folder / "sheet.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    renames = {word: label for label, word in words.items()}
    kept = np.array([word != "" for word in given])
    reading = {"column": "answer", "renames": renames}
    return Returned([folder / "sheet.csv"], rows[kept], reading, by="id")


def rounded_sheet(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """Whole voxels without ids, tomogram 001 turned into 1."""
    rows = some(rng)
    places = np.rint(voxels(table)[rows]).astype(int)
    frame = pd.DataFrame(places, columns=["X [px]", "Y [px]", "Z [px]"])
    frame["Tomogram"] = [int(name) for name in table.tomograms[rows]]
    frame["Class"] = answers()[rows]
    frame.to_csv(folder / "rounded.csv", index=False, sep="\t")
    return Returned([folder / "rounded.csv"], rows)


def _relion(table: Particles, rows: np.ndarray, path: Path, drop: str) -> Path:
    """The chosen rows as RELION writes them, with rlnClassNumber and without some columns."""
    numbers = [CLASSES.index(label) + 1 for label in answers()[rows]]
    chosen = table.take(rows).with_columns({"rlnClassNumber": [str(n) for n in numbers]})
    gone = [label for label in chosen.table.labels if drop and label.startswith(drop)]
    write_particles(path, chosen.without(gone))
    return path


_NUMBERS = {str(number): name for number, name in enumerate(CLASSES, 1)}
_BY_NUMBER = {"column": "rlnClassNumber", "renames": _NUMBERS}


def class3d(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    rows = rng.permutation(COUNT)
    path = _relion(table, rows, folder / "run_it025_data.star", "")
    return Returned([path], rows, _BY_NUMBER, by="id")


def class3d_without_hal(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    rows = rng.permutation(COUNT)
    path = _relion(table, rows, folder / "run_it024_data.star", "hal")
    return Returned([path], rows, _BY_NUMBER, by="name")


def class3d_of_another_extraction(
    table: Particles, folder: Path, rng: np.random.Generator
) -> Returned:
    """Other images, so only the coordinates are left, in the pixels of rlnMicrographPixelSize."""
    rows = some(rng)
    path = _relion(table, rows, folder / "run_it023_data.star", "hal")
    star = starfile.read(path, always_dict=True, parse_as_string=["rlnMicrographName"])
    star["particles"]["rlnImageName"] = [f"Mine/{n}.mrc" for n in range(len(rows))]
    starfile.write(star, path, overwrite=True)
    return Returned([path], rows, _BY_NUMBER)


def subset_selection(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    kept = rng.permutation(np.flatnonzero(answers() != "junk"))
    kept = kept[answers()[kept] == "apo"]
    path = _relion(table, kept, folder / "selected.star", "")
    rules = Rules(absent="junk")
    return Returned([path], kept, {"one_label": "apo"}, rules, by="id", one_label=True)


def artiax(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """halcmd's own table through ArtiaX: only numbers stay, optics are gone; a file per class."""
    rows = np.flatnonzero((table.tomograms == "002") & (answers() == "holo"))
    rows = rng.permutation(rows)[:-20]
    frame = starfile.read(folder / "particles.star", always_dict=True)["particles"].iloc[rows]
    keep = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
    frame = frame[keep].assign(rlnOriginX=0.0, rlnOriginY=0.0, rlnOriginZ=0.0, rlnAngleRot=0.0)
    starfile.write({"particles": frame}, folder / "002_holo.star", overwrite=True)
    reading = {"one_label": "holo"}
    return Returned([folder / "002_holo.star"], rows, reading, one_label=True)


def napari(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    rows = some(rng)
    files = []
    for name in sorted(set(table.tomograms)):
        own = rows[table.tomograms[rows] == name]
        frame = pd.DataFrame(voxels(table)[own][:, ::-1].round(1))
        frame.columns = [f"axis-{n}" for n in range(3)]
        frame.insert(0, "index", range(len(own)))
        frame["label"] = answers()[own]
        files.append(folder / f"{name} points.csv")
        frame.to_csv(files[-1], index=False)
    return Returned(files, rows)


def boxmanager(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """Boxes of 16 voxels around whole voxels; being in the file is the label."""
    files, all_rows = [], []
    for name in sorted(set(table.tomograms)):
        own = np.flatnonzero((table.tomograms == name) & (answers() == "apo"))
        all_rows.append(rng.permutation(own)[: len(own) // 2])
        lines = ["", "data_cryolo", "", "loop_"]
        names = ("CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth")
        lines += [f"_{label} #{n}" for n, label in enumerate(names, 1)]
        for x, y, z in np.rint(voxels(table)[all_rows[-1]]):
            lines.append(f"{x - 8} {y - 8} {z} 16 16 16")
        files.append(folder / f"{name}.cbox")
        files[-1].write_text("\n".join(lines) + "\n")
    return Returned(files, np.concatenate(all_rows), {"one_label": "apo"}, one_label=True)


def dynamo(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """Whole coordinates, the rest in dx, dy, dz; tomograms by number and map."""
    rows = some(rng)
    whole = np.rint(voxels(table)[rows])
    rest = voxels(table)[rows] - whole
    numbers = {name: 20 + n for n, name in enumerate(sorted(set(table.tomograms)))}
    frame = pd.DataFrame({"tag": np.arange(len(rows)) + 1})
    for n, axis in enumerate("xyz"):
        frame[axis], frame[f"d{axis}"] = whole[:, n], rest[:, n]
    frame["tomo"] = [numbers[name] for name in table.tomograms[rows]]
    frame["class"] = [CLASSES.index(label) + 1 for label in answers()[rows]]
    dynamotable.write(frame, folder / "refined.tbl")
    lines = [f"{number} {folder / name}.mrc" for name, number in numbers.items()]
    (folder / "refined.doc").write_text("\n".join(lines) + "\n")
    return Returned([folder / "refined.tbl"], rows, {"renames": _NUMBERS})


def stopgap(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    rows = some(rng)
    whole = np.rint(voxels(table)[rows])
    rest = voxels(table)[rows] - whole
    frame = pd.DataFrame({"motl_idx": np.arange(len(rows)) + 1})
    frame["tomo_num"] = [int(name) for name in table.tomograms[rows]]
    for n, axis in enumerate("xyz"):
        frame[f"orig_{axis}"], frame[f"{axis}_shift"] = whole[:, n] + 1, rest[:, n]
    frame["class"] = [CLASSES.index(label) + 1 for label in answers()[rows]]
    starfile.write({"stopgap_motivelist": frame}, folder / "motl.star", overwrite=True)
    return Returned([folder / "motl.star"], rows, {"renames": _NUMBERS})


def copick(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    rows = some(rng)
    files = []
    for name in sorted(set(table.tomograms)):
        for label in CLASSES:
            own = rows[(table.tomograms[rows] == name) & (answers()[rows] == label)]
            points = [
                {"location": dict(zip("xyz", place, strict=True)), "instance_id": 0}
                for place in table.positions[own].tolist()
            ]
            content = {"pickable_object_name": label, "unit": "angstrom", "run_name": name}
            files.append(folder / f"{name}_eva_1_{label}.json")
            files[-1].write_text(json.dumps(content | {"points": points}))
    return Returned(files, rows)


def warp(table: Particles, folder: Path, rng: np.random.Generator) -> Returned:
    """Picks of template matching above a threshold, as shares of the tomogram."""
    rows = rng.permutation(np.flatnonzero(answers() == "apo"))[:500]
    files = []
    for name in sorted(set(table.tomograms)):
        own = rows[table.tomograms[rows] == name]
        share = voxels(table)[own] / np.array(SHAPE[::-1])
        frame = pd.DataFrame(share, columns=[f"rlnCoordinate{a}" for a in "XYZ"])
        frame["rlnMicrographName"] = f"{name}.tomostar"
        frame["rlnAutopickFigureOfMerit"] = rng.uniform(6, 9, len(own))
        files.append(folder / f"{name}_10.00Apx_apo_clean.star")
        starfile.write(frame, files[-1], overwrite=True)
    return Returned(files, rows, {"one_label": "apo"}, one_label=True)


MAKERS: list[Maker] = [
    *(spreadsheet, rounded_sheet, class3d, class3d_without_hal, class3d_of_another_extraction),
    *(subset_selection, artiax, napari, boxmanager, dynamo, stopgap, copick, warp),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_no_answer_goes_to_another_particle(
    table: Particles, folder: Path, rng: np.random.Generator, tmp_path: Path, make: Maker
) -> None:
    returned = make(table, folder, rng)
    labels = [read_labels(path, **returned.reading) for path in returned.files]
    result = label_import(table, labels, tmp_path, rules=returned.rules)
    expected = np.full(COUNT, UNLABELLED, dtype=object)
    if returned.rules.absent is not None:
        expected[:] = returned.rules.absent
    expected[returned.rows] = answers()[returned.rows]
    assert (result.particles.labels == expected).all()
    assert (result.unmatched, result.ambiguous) == (0, 0)
    assert result.matched >= len(returned.rows)
    if returned.one_label:
        assert set(answers()[returned.rows]) == {returned.reading["one_label"]}


@pytest.mark.parametrize("ids", [True, False])
def test_the_table_may_be_filtered_and_sorted_between_query_and_import(
    table: Particles, rng: np.random.Generator, tmp_path: Path, ids: bool
) -> None:
    """A later table has other rows in another order; answers for what is gone are left out."""
    left = table.take(rng.permutation(COUNT)[:3000])
    rows = some(rng)
    own = table.take(rows).with_columns({"halLabel": answers()[rows]})
    write_particles(tmp_path / "answers.star", own if ids else own.without(["halParticleId"]))
    file = read_labels(tmp_path / "answers.star")
    rules = Rules(allow_unmatched=True, match="auto" if ids else "coordinate")
    result = label_import(left, [file], tmp_path, rules=rules)
    given = dict(zip(table.ids[rows], answers()[rows], strict=True))
    assert_labels(result, [given.get(name, UNLABELLED) for name in left.ids])
    gone = set(table.ids[rows]) - set(left.ids)
    assert result.unmatched == len(gone)
    unused = read_star(tmp_path / "unused.star").table("unused")
    assert unused is not None
    assert unused.column("halUnusedReason") == ["unmatched"] * len(gone)
    assert not ids or set(unused.column("halParticleId")) == gone


def assert_labels(result: LabelImportResult, expected: list[str]) -> None:
    assert result.particles.labels.tolist() == expected


def test_a_filter_of_picks_keeps_neighbours_apart(
    table: Particles, rng: np.random.Generator, tmp_path: Path
) -> None:
    """Where the own particle is gone, a pick does not take the next one, however far it may go."""
    rows = rng.permutation(COUNT)
    left = table.take(rows[:2500])
    frame = pd.DataFrame(voxels(table)[rows], columns=list("xyz"))
    frame["tomogram"], frame["label"] = table.tomograms[rows], answers()[rows]
    frame.to_csv(tmp_path / "all.csv", index=False)
    file = read_labels(tmp_path / "all.csv")
    for distance in (None, 60.0):
        rules = Rules(allow_unmatched=True, max_distance=distance)
        result = label_import(left, [file], tmp_path, rules=rules)
        assert_labels(result, answers()[rows[:2500]].tolist())
