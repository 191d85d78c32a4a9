"""label-import: every way that labels come back, and every way that they could go astray."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halcmd.console import log
from halcmd.cropping import Geometry, Intensity
from halcmd.errors import InputError, OptionError
from halcmd.formats.mrc_writing import write_volume
from halcmd.formats.star import read_star
from halcmd.intake.label_matching import Placing
from halcmd.intake.labels import read_labels, read_renames
from halcmd.intake.read import read_picks
from halcmd.particles import Particles, new_particles
from halcmd.steps.extract import Split, extract
from halcmd.steps.label_import import LabelImportResult, Rules, label_import, rename_labels
from halcmd.tables import read_particles, write_particles


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def table(count: int = 4, **columns: Sequence[object]) -> Particles:
    ids = [f"T/{n:06d}" for n in range(1, count + 1)]
    return new_particles({"halParticleId": ids, **columns})


def run(
    particles: Particles,
    labels: str | Path | list[Path],
    folder: Path,
    *,
    rules: Rules | None = None,
    reading: dict[str, object] | None = None,
    **options: object,
) -> LabelImportResult:
    """Import from the text of a file, or from files."""
    if isinstance(labels, str):
        path = folder / "labels.csv"
        path.write_text(labels)
        labels = path
    paths = labels if isinstance(labels, list) else [labels]
    files = [read_labels(path, **(reading or {})) for path in paths]  # type: ignore[arg-type]
    return label_import(particles, files, folder, rules=rules or Rules(), **options)  # type: ignore[arg-type]


def test_labels_by_id_go_to_their_particles(tmp_path):
    text = "halParticleId,halLabel\nT/000003,ribosome\nT/000001,junk\nT/000002,\n"
    result = run(table(), text, tmp_path)
    assert result.particles.labels.tolist() == ["junk", "unlabelled", "ribosome", "unlabelled"]
    assert result.summary() == {
        "matched": 3,
        "unmatched": 0,
        "ambiguous": 0,
        "misplaced": 0,
        "conflicting": 0,
        "changed": 0,
        "labels": {"junk": 1, "ribosome": 1},
        "agreement": None,
    }
    written = read_particles([tmp_path / "particles.star"])
    assert written.labels.tolist() == result.particles.labels.tolist()
    assert written.text("halLabelSource").tolist() == ["labels.csv", "none", "labels.csv", "none"]
    assert written.text("halLabelRound").tolist() == ["1", "0", "1", "0"]
    assert written.class_numbers() == {"junk": 1, "ribosome": 2}


def test_the_next_round_adds_to_the_first(tmp_path):
    first = run(table(), "halParticleId,label\nT/000001,apo\n", tmp_path).particles
    second = run(
        first, "halParticleId,label\nT/000002,zap\nT/000001,apo\n", tmp_path, annotator="Eva B"
    ).particles
    assert second.labels.tolist()[:2] == ["apo", "zap"]
    assert second.text("halLabelRound").tolist()[:2] == ["1", "2"]
    assert second.text("halLabelSource").tolist()[:2] == ["labels.csv", "Eva_B"]
    third = run(second, "halParticleId,label\nT/000003,aaa\n", tmp_path, label_round=9).particles
    assert third.text("halLabelRound").tolist()[:3] == ["1", "2", "9"]
    assert third.class_numbers() == {"apo": 1, "zap": 2, "aaa": 3}


SPREADSHEET = st.tuples(
    st.permutations(range(12)),
    st.lists(st.sampled_from(["apo", "holo", "junk", ""]), min_size=12, max_size=12),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
    st.booleans(),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(SPREADSHEET)
def test_shuffled_rows_and_spreadsheet_habits_never_mix_up_particles(tmp_path_factory, habits):
    order, labels, delimiter, windows, by_name = habits
    folder = tmp_path_factory.mktemp("labels")
    ids = [f"T{n % 3}/{n:06d}" for n in range(12)]
    images = [f"{n + 1:06d}@Extract/Subtomograms/T{n % 3}.mrcs" for n in range(12)]
    particles = new_particles({"halParticleId": ids, "halImageName": images})
    if not any(labels):
        labels[0] = "apo"
    keys, head = (images, "halImageName") if by_name else (ids, "Particle_ID")
    rows = [["0,5", f'"{keys[n]}"', labels[n]] for n in order]
    lines = [["score", head, "Label"], *rows, ["", "", ""]]
    end = "\r\n" if windows else "\n"
    if delimiter == ",":
        lines = [[line[0].replace(",", "."), *line[1:]] for line in lines]
    text = end.join(delimiter.join(line) for line in lines) + end
    path = folder / "labels.csv"
    path.write_bytes((b"\xef\xbb\xbf" if windows else b"") + text.encode())
    result = run(particles, path, folder)
    assert result.particles.ids.tolist() == ids
    assert result.particles.labels.tolist() == [label or "unlabelled" for label in labels]


def test_real_labels_are_matched_by_image_name(tmp_path, shared):
    folder = shared / "real" / "mixed28"
    particles = read_particles([folder / "particles.star"])
    result = run(particles, folder / "labels.tsv", tmp_path)
    assert result.labels == {"background": 47, "microtubule": 22, "ribosome": 20}
    assert (result.matched, result.unmatched, result.changed) == (89, 0, 0)
    for name, label in zip(particles.text("rlnImageName"), result.particles.labels, strict=True):
        kind = {"U": "ribosome", "m": "microtubule", "b": "background"}
        letter = Path(name).name.replace("13pf_MT_", "")[0]
        assert label == kind[letter]


@pytest.fixture(scope="module")
def microtubule(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Particles:
    job = tmp_path_factory.mktemp("Extract")
    folder = shared / "real" / "microtubule"
    return extract(
        read_picks([folder / "picks.star"]),
        [folder / "13pf_MT.mrc"],
        job,
        geometry=Geometry(16),
        intensity=Intensity("bright"),
        split=Split(),
    ).particles


def test_real_labels_are_matched_by_coordinates(tmp_path, shared, microtubule):
    picks = shared / "real" / "microtubule" / "picks.star"
    reading = {"column": "rlnGroupName"}
    result = run(microtubule, picks, tmp_path, reading=reading)
    assert result.particles.labels.tolist() == microtubule.text("rlnGroupName").tolist()
    assert result.labels == {"background": 47, "microtubule": 22}


def test_moved_picks_find_their_particle_within_the_distance(tmp_path, shared, microtubule):
    text = (shared / "real" / "microtubule" / "picks.star").read_text()
    head, _, rows = text.partition("#5\n")
    lines = [line.split() for line in rows.strip().splitlines()]
    moved = [f"{n} {float(x) + 1.2:.2f} {y} {z} {c}" for n, x, y, z, c in reversed(lines)]
    path = tmp_path / "moved.star"
    path.write_text(f"{head}#5\n" + "\n".join(moved) + "\n")
    reading = {"column": "rlnGroupName"}
    result = run(microtubule, path, tmp_path, reading=reading)
    assert result.particles.labels.tolist() == microtubule.text("rlnGroupName").tolist()
    with pytest.raises(InputError, match="not in the table"):
        run(microtubule, path, tmp_path, reading=reading, rules=Rules(max_distance=10.0))


def test_a_place_between_two_particles_is_ambiguous(tmp_path, microtubule):
    a, b = microtubule.positions[:2] / 10.52
    x, y, z = (a + b) / 2
    text = f"x,y,z,tomogram,label\n{x},{y},{z},13pf_MT,apo\n"
    with pytest.raises(InputError, match="fit several particles"):
        run(microtubule, text, tmp_path, rules=Rules(max_distance=100.0))


def test_labels_of_other_tomograms_can_be_left_out(tmp_path, microtubule, caplog):
    x, y, z = microtubule.positions[3] / 10.52
    text = f"x,y,z,tomogram,label\n{x},{y},{z},13pf_MT,apo\n{x},{y},{z},TS_99,apo\n"
    with pytest.raises(InputError, match="not in the table"):
        run(microtubule, text, tmp_path)
    result = run(microtubule, text, tmp_path, rules=Rules(allow_unmatched=True))
    assert (result.matched, result.unmatched) == (1, 1)
    assert np.flatnonzero(result.particles.is_answered).tolist() == [3]
    assert "not used, unmatched: 1 (row 2 in TS_99)" in caplog.text


def test_an_id_at_another_place_is_not_the_same_particle(tmp_path, microtubule):
    other = microtubule.with_columns(
        {
            "halPositionXAngst": [f"{x + 50:.2f}" for x in microtubule.number("halPositionXAngst")],
            "halLabel": ["apo"] * len(microtubule),
        }
    )
    write_particles(tmp_path / "other.star", other)
    for name in ("other.star", "other.csv"):
        if name.endswith("csv"):
            columns = ["halParticleId", *(f"halPosition{a}Angst" for a in "XYZ"), "halLabel"]
            rows = zip(*(other.text(column) for column in columns), strict=True)
            lines = [",".join(columns), *(",".join(row) for row in rows)]
            (tmp_path / name).write_text("\n".join(lines))
        with pytest.raises(InputError, match="same id stands at another place"):
            run(microtubule, tmp_path / name, tmp_path)
        rules = Rules(max_distance=60.0)
        assert run(microtubule, tmp_path / name, tmp_path, rules=rules).matched == 69
    assert not microtubule.is_answered.any()


POINTS = "index,axis-0,axis-1,axis-2,halParticleId,halLabel\n"


def test_voxels_that_contradict_an_id_are_a_conflict(tmp_path):
    text = "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\n"
    particles = extracted(tmp_path, text)
    near = f"{POINTS}0,12,11,11.5,TS_001/000001,apo\n1,22,21,20,TS_001/000002,holo\n"
    assert run(particles, near, tmp_path).particles.labels.tolist() == ["apo", "holo"]
    swapped = near.replace("000001", "000003").replace("000002", "000001").replace("03", "02")
    with pytest.raises(InputError, match="same id stands at another place") as error:
        run(particles, swapped, tmp_path)
    assert "--max-distance" in str(error.value.hint)
    (tmp_path / "TS_001.mrc").unlink()
    result = run(particles, near, tmp_path)
    assert result.particles.labels.tolist() == ["apo", "holo"]


def test_a_row_without_id_and_name_goes_by_position(tmp_path):
    text = "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\nTS_001,30,31,32\n"
    particles = extracted(tmp_path, text)
    image = particles.text("halImageName")[1]
    rows = (
        "tomogram,x,y,z,id,image,label\n"
        "TS_001,10,11,12,TS_001/000001,,apo\n"
        f"TS_001,20,21,22,,{image},holo\n"
        "TS_001,30,31,32,,,junk\n"
    )
    result = run(particles, rows, tmp_path)
    assert result.particles.labels.tolist() == ["apo", "holo", "junk"]
    foreign = rows.replace(",,,junk", ",TS_001/000009,,junk")
    with pytest.raises(InputError, match="not in the table"):
        run(particles, foreign, tmp_path)


def test_names_that_are_not_unique_are_settled_by_position(tmp_path):
    text = "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\nTS_001,30,31,32\n"
    particles = extracted(tmp_path, text).with_columns(
        {"rlnTomoParticleName": ["TS_001/1", "TS_001/1", "TS_001/3"]}
    )
    rows = (
        "tomogram,x,y,z,rlnTomoParticleName,label\n"
        "TS_001,20,21,22,TS_001/1,holo\nTS_001,30,31,32,TS_001/3,apo\n"
    )
    result = run(particles, rows, tmp_path)
    assert result.particles.labels.tolist() == ["unlabelled", "holo", "apo"]


def test_coordinates_that_are_all_equal_are_not_used(tmp_path):
    particles = extracted(tmp_path, "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\n")
    text = "tomogram,x,y,z,label\nTS_001,10,11,12,apo\nTS_001,10,11,12,holo\n"
    with pytest.raises(InputError, match="cannot be matched"):
        run(particles, text, tmp_path)


@pytest.mark.parametrize("name", ["TS_001", "TS_001_ribosome", "TS_002-apo.v2"])
def test_a_file_may_be_named_after_its_tomogram(tmp_path, name):
    text = "tomogram,x,y,z\nTS_001,10,11,12\nTS_002,10,11,12\n"
    particles = extracted(tmp_path, text)
    (tmp_path / f"{name}.coords").write_text("10 11 12\n")
    reading: dict[str, object] = {"one_label": "apo"}
    result = run(particles, tmp_path / f"{name}.coords", tmp_path, reading=reading)
    row = int(name.startswith("TS_002"))
    assert np.flatnonzero(result.particles.is_answered).tolist() == [row]
    (tmp_path / "picks.coords").write_text("10 11 12\n")
    with pytest.raises(InputError, match="not in the table"):
        run(particles, tmp_path / "picks.coords", tmp_path, reading=reading)


def test_a_subset_selection_labels_by_presence_and_absence(tmp_path):
    particles = table(4, halSplit=["pool", "pool", "test", "pool"])
    kept = tmp_path / "selected.star"
    write_particles(kept, particles.take([1]))
    result = run(
        particles,
        kept,
        tmp_path,
        reading={"one_label": "ribosome"},
        rules=Rules(absent="junk"),
    )
    assert result.particles.labels.tolist() == ["junk", "ribosome", "unlabelled", "junk"]
    assert result.labels == {"junk": 2, "ribosome": 1}
    assert result.matched == 1
    with pytest.raises(OptionError, match="--absent"):
        run(particles, "id,label\nT/000001,apo\n", tmp_path, rules=Rules(absent="70S"))


def test_a_row_without_an_answer_is_not_absent(tmp_path):
    text = "halParticleId,label\nT/000001,apo\nT/000002,\n"
    result = run(table(), text, tmp_path, rules=Rules(absent="junk"))
    assert result.particles.labels.tolist() == ["apo", "unlabelled", "junk", "junk"]


def test_only_takes_labels_for_the_rows_asked_for(tmp_path, caplog):
    write_particles(tmp_path / "query.star", table().take([1, 3]))
    text = "halParticleId,label\nT/000001,apo\nT/000002,apo\nX/000009,apo\n"
    result = run(table(), text, tmp_path, only=tmp_path / "query.star")
    assert np.flatnonzero(result.particles.is_answered).tolist() == [1]
    assert "1 of 2 particles got no label" in caplog.text
    (tmp_path / "other.csv").write_text("halParticleId\nX/1\n")
    with pytest.raises(InputError, match="no particle of --only"):
        run(table(), text, tmp_path, only=tmp_path / "other.csv")


def test_answers_may_become_the_test_set(tmp_path):
    text = "halParticleId,label\nT/000001,apo\nT/000003,apo\n"
    result = run(table(), text, tmp_path, rules=Rules(split="test"))
    assert result.particles.is_test.tolist() == [True, False, True, False]
    with pytest.raises(InputError, match="would move to pool") as error:
        run(result.particles, text, tmp_path, rules=Rules(split="pool"))
    assert "--relabel" in str(error.value.hint)
    rules = Rules(split="pool", relabel=True)
    assert not run(result.particles, text, tmp_path, rules=rules).particles.is_test.any()


def test_classes_are_renamed_and_numbers_get_a_name(tmp_path):
    (tmp_path / "renames.csv").write_text("70S,ribosome\n")
    renames = read_renames(tmp_path / "renames.csv")
    text = "id,rlnClassNumber\nT/000001,2\nT/000002,70S\nT/000003,-1\nT/000004,0\n"
    result = run(table(), text, tmp_path, reading={"renames": renames})
    assert result.particles.labels.tolist() == ["class_2", "ribosome", "unlabelled", "unlabelled"]


@pytest.mark.parametrize("label", ["70S", "a b", "1.5", "true", "ä", "?"])
def test_a_class_name_that_is_not_allowed_stops(tmp_path, label):
    with pytest.raises(InputError, match="may not be called so") as error:
        run(table(), f"id,label\nT/000001,{label}\n", tmp_path)
    assert label in str(error.value.found)


@pytest.mark.parametrize(
    ("conflict", "expected"), [("first", "apo"), ("last", "holo"), ("majority", "holo")]
)
def test_contradictory_answers_need_a_rule(tmp_path, conflict, expected):
    paths = []
    for n, label in enumerate(["apo", "holo", "holo"]):
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_text(f"halParticleId,label\nT/000001,{label}\nT/000002,apo\n")
    with pytest.raises(InputError, match="contradictory") as error:
        run(table(), paths, tmp_path)
    assert "apo / holo" in str(error.value.found)
    assert "0.csv, 1.csv, 2.csv" in str(error.value.where)
    assert not (tmp_path / "particles.star").exists()
    result = run(table(), paths, tmp_path, rules=Rules(conflict=conflict))
    assert result.particles.labels.tolist()[:2] == [expected, "apo"]
    assert result.conflicting == 1


def test_a_label_that_is_there_changes_only_when_allowed(tmp_path):
    particles = table(4, halLabel=["apo", "apo", "unlabelled", "unlabelled"])
    text = "halParticleId,label\nT/000001,holo\nT/000002,apo\n"
    with pytest.raises(InputError, match="would change") as error:
        run(particles, text, tmp_path)
    assert "apo -> holo" in str(error.value.found)
    result = run(particles, text, tmp_path, rules=Rules(relabel=True))
    assert result.particles.labels.tolist()[:2] == ["holo", "apo"]
    assert result.changed == 1


def test_labels_of_unknown_particles_stop_unless_allowed(tmp_path, caplog):
    text = "halParticleId,label\nT/000001,apo\nT/000077,apo\n"
    with pytest.raises(InputError, match="not in the table") as error:
        run(table(), text, tmp_path)
    assert "T/000077" in str(error.value.found)
    result = run(table(), text, tmp_path, rules=Rules(allow_unmatched=True))
    assert (result.matched, result.unmatched) == (1, 1)
    unused = read_star(tmp_path / "unused.star").table("unused")
    assert unused is not None
    row = {name: unused.column(name) for name in unused.labels}
    assert row == {
        "halUnusedReason": ["unmatched"],
        "halLabelFile": ["labels.csv"],
        "halLabelRow": ["2"],
        "halLabel": ["apo"],
        "halParticleId": ["T/000077"],
        "halImageName": ["none"],
        "halTomogram": ["none"],
        **{f"halCoordinate{axis}": ["nan"] for axis in "XYZ"},
        "halCandidates": ["none"],
    }
    assert "T/000077" in caplog.text
    with pytest.raises(InputError, match="not in the table"):
        run(table(), "id,label\nX,apo\n", tmp_path, rules=Rules(allow_unmatched=True))


def test_what_is_not_used_is_listed_with_the_reason(tmp_path):
    text = "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\nTS_001,30,31,32\nTS_001,32,31,32\n"
    particles = extracted(tmp_path, text)
    ids = particles.ids.tolist()
    write_particles(tmp_path / "asked.star", particles.take([0, 2, 3]))
    rows = (
        "tomogram,x,y,z,id,label\n"
        f"TS_001,10,11,12,{ids[0]},apo\n"
        f"TS_001,10,11,12,{ids[0]},apo\n"
        f"TS_001,10,11,12,{ids[0]},holo\n"
        f"TS_001,20,21,22,{ids[1]},apo\n"
        f"TS_001,20,21,22,{ids[2]},apo\n"
        "TS_001,31.1,31,32,,apo\n"
        "TS_001,38,5,10,,apo\n"
        "TS_001,38,5,10,,\n"
    )
    for rules, fault in (
        (Rules(), "the same id stands at another place"),
        (Rules(max_distance=500.0, conflict="majority"), "fit several particles"),
    ):
        with pytest.raises(InputError, match=fault) as error:
            run(particles, rows, tmp_path, rules=rules)
        assert "--allow-unmatched" in str(error.value.hint)
    assert f"row 6 in TS_001 is {ids[3]} or {ids[2]}" in str(error.value.found)
    assert not (tmp_path / "unused.star").exists()
    rules = Rules(allow_unmatched=True, conflict="majority")
    result = run(particles, rows, tmp_path, rules=rules, only=tmp_path / "asked.star")
    assert result.particles.labels.tolist() == ["apo", *["unlabelled"] * 3]
    assert (result.matched, result.unmatched, result.ambiguous, result.misplaced) == (4, 2, 1, 1)
    unused = read_star(tmp_path / "unused.star").table("unused")
    assert unused is not None
    names = ("halLabelRow", "halUnusedReason", "halCandidates")
    found = set(zip(*(unused.column(name) for name in names), strict=True))
    assert found == {
        ("3", "outvoted", ids[0]),
        ("4", "not_asked", ids[1]),
        ("5", "misplaced", ids[2]),
        ("6", "ambiguous", f"{ids[3]},{ids[2]}"),
        ("7", "unmatched", "none"),
    }


def test_the_message_has_the_columns_as_the_file_has_them(tmp_path):
    with pytest.raises(InputError, match="no column with labels") as error:
        run(table(), "halParticleId,x,y,z,halTomogram,colour\nT/1,1,2,3,T,red\n", tmp_path)
    assert error.value.found == "6 (halParticleId, x, y, z, halTomogram, colour)"


def test_a_workbook_is_to_be_saved_as_csv(tmp_path):
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(InputError, match="a workbook") as error:
        run(table(), tmp_path / "book.xlsx", tmp_path)
    assert error.value.hint == "save it as CSV"


def test_names_that_differ_in_capitals_alone_are_noticed(tmp_path, caplog):
    run(table(), "halParticleId,label\nT/000001,Apo\nT/000002,apo\nT/000003,holo\n", tmp_path)
    assert "Apo and apo are different classes" in caplog.text
    assert "holo" not in " ".join(r.message for r in caplog.records if r.levelname == "WARNING")


def test_rows_at_no_particle_name_their_tomogram(tmp_path):
    particles = extracted(tmp_path, "tomogram,x,y,z\nTS_001,10,11,12\nTS_001,20,21,22\n")
    text = "tomogram,x,y,z,label\nTS_001,30,31,32,apo\nTS_009,20,21,22,apo\n"
    with pytest.raises(InputError, match="not in the table") as error:
        run(particles, text, tmp_path)
    assert error.value.found == "2 (row 1 in TS_001, row 2 in TS_009)"
    assert "--coords-angpix" in str(error.value.hint)


def test_an_image_name_that_fits_two_particles_is_ambiguous(tmp_path):
    particles = table(2, rlnImageName=["a/box.mrc", "b/box.mrc"])
    with pytest.raises(InputError, match="fit several"):
        run(particles, "image,label\nbox.mrc,apo\n", tmp_path)
    assert run(particles, "image,label\n./b/box.mrc,apo\n", tmp_path).matched == 1


def test_ids_made_up_in_this_command_match_nothing(tmp_path):
    star = tmp_path / "p.star"
    star.write_text("data_\nloop_\n_rlnTomoName\n_rlnImageName\nT a.mrc\nT b.mrc\n")
    particles = read_particles([star])
    with pytest.raises(InputError, match="cannot be matched"):
        run(particles, "halParticleId,label\nT/000002,apo\n", tmp_path)
    text = "halParticleId,image,label\nT/000002,a.mrc,apo\n"
    labels = run(particles, text, tmp_path).particles.labels
    assert labels.tolist() == ["apo", "unlabelled"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("halParticleId,colour\nT/000001,red\n", "no column with labels"),
        ("x,y,z,my colour\n1,2,3,red\n", "no column with labels"),
        ("halParticleId,label\nT/000001,\n", "no label to import"),
        ("name,label\nT/000001,apo\n", "cannot be matched"),
        ("halParticleId,label,label\nT/000001,apo,holo\n", "stands twice"),
        ("1,2\n3,4\n", "must name the columns"),
        ("", "empty"),
    ],
)
def test_a_file_that_says_nothing_stops(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        run(table(), text, tmp_path)
    assert not (tmp_path / "particles.star").exists()


def test_coordinates_need_extracted_particles(tmp_path):
    with pytest.raises(InputError, match="only to extracted particles"):
        run(table(), "x,y,z,label\n1,2,3,apo\n", tmp_path)


def test_nothing_but_the_label_columns_changes(tmp_path):
    particles = table(2, rlnX=["1.000", "[1,0]"], halProbability=["0.5", "0.25"])
    after = run(particles, "id,label\nT/000002,apo\n", tmp_path).particles
    for label in particles.table.labels:
        assert after.text(label).tolist() == particles.text(label).tolist()
    new = ["halLabel", "halLabelSource", "halLabelRound"]
    assert after.table.labels == [*particles.table.labels, *new]


def test_unknown_and_skip_are_answers_without_a_class_number(tmp_path):
    text = "id,label\nT/000001,unknown\nT/000002,skip\nT/000003,apo\n"
    particles = run(table(), text, tmp_path).particles
    assert particles.is_answered.tolist() == [True, True, True, False]
    assert particles.is_trainable.tolist() == [False, False, True, False]
    assert particles.class_numbers() == {"apo": 1}


def test_names_of_stacks_with_other_zeros_and_folders_match(tmp_path, rng):
    write_volume(tmp_path / "unused.mrc", rng.normal(size=(4, 4, 4)), 10.0)
    particles = table(2, halImageName=["000001@Extract/T.mrcs", "000012@Extract/T.mrcs"])
    text = "halImageName,label\n12@./Extract/T.mrcs,apo\n"
    assert run(particles, text, tmp_path).particles.labels.tolist() == ["unlabelled", "apo"]
    text = "halImageName,label\n000001@C:\\data\\T.mrcs,apo\n"
    assert run(particles, text, tmp_path).particles.labels.tolist() == ["apo", "unlabelled"]


CENTRED = "".join(f"_rlnCenteredCoordinate{axis}Angst\n" for axis in "XYZ")


def relion5(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """Particles as RELION 5 returns them: name of the particle and its class, no hal columns."""
    text = f"data_particles\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnClassNumber\n{CENTRED}"
    text += "".join(f"T {name} {number} 0 0 0\n" for name, number in rows)
    (folder / "returned.star").write_text(text)
    return folder / "returned.star"


def test_particles_of_relion_are_known_by_their_name(tmp_path):
    names = ["T/7", "T/8", "T/9", "T/10"]
    file = relion5(tmp_path, [("T/9", "2"), ("T/7", "1")])
    result = run(table(rlnTomoParticleName=names), file, tmp_path, rules=Rules(absent="junk"))
    assert result.particles.labels.tolist() == ["class_1", "junk", "class_2", "junk"]
    assert result.matched == 2


def test_names_that_stand_twice_do_not_decide(tmp_path):
    """After joining sets that were extracted apart, rlnTomoParticleName is not unique."""
    file = relion5(tmp_path, [("T/7", "2")])
    with pytest.raises(InputError, match="fit several particles"):
        run(table(rlnTomoParticleName=["T/7", "T/7", "T/8", "T/9"]), file, tmp_path)


def extracted(folder: Path, picks: str, *, name: str = "p.csv", **options: object) -> Particles:
    """Boxes cut out of a tomogram TS_001 of 10 A at the picks of a file."""
    volume = np.random.default_rng(1).normal(size=(40, 40, 40)).astype(np.float32)
    write_volume(folder / "TS_001.mrc", volume, 10.0)
    write_volume(folder / "TS_002.mrc", volume, 10.0)
    (folder / name).write_text(picks)
    (folder / "Extract").mkdir(exist_ok=True)
    extract(
        read_picks([folder / name]),
        [folder],
        folder / "Extract",
        geometry=Geometry(8),
        intensity=Intensity("bright"),
        split=Split(),
        **options,  # type: ignore[arg-type]
    )
    return read_particles([folder / "Extract" / "particles.star"])


@pytest.mark.parametrize("name", ["1", "1.0", "001"])
def test_a_tomogram_that_became_a_number_is_found(tmp_path, name):
    particles = extracted(tmp_path, "tomogram,x,y,z\nTS_001,10,11,12\nTS_002,10,11,12\n")
    result = run(particles, f"tomogram,x,y,z,label\n{name},10,11,12,apo\n", tmp_path)
    assert result.particles.labels.tolist() == ["apo", "unlabelled"]


def test_a_bare_number_means_the_tomogram_that_extract_took(tmp_path):
    text = "tomogram,x,y,z,class\n1,10,11,12,2\n2,20,21,22,3\n"
    result = run(extracted(tmp_path, text), tmp_path / "p.csv", tmp_path)
    assert result.matched == 2
    assert result.particles.labels.tolist() == ["class_2", "class_3"]


def test_coordinates_that_extract_needed_an_option_for_come_back_with_it(tmp_path):
    text = "tomogram,x,y,z,class\nTS_001,80,88,96,2\nTS_002,160,168,176,3\n"
    particles = extracted(tmp_path, text, coords_pixel_size=1.25)
    with pytest.raises(InputError, match="outside"):
        run(particles, tmp_path / "p.csv", tmp_path)
    rules = Rules(placing=Placing(coords_pixel_size=1.25))
    assert run(particles, tmp_path / "p.csv", tmp_path, rules=rules).matched == 2
    (tmp_path / "angst.csv").write_text(text.replace("80,88,96", "100,110,120"))
    rules = Rules(allow_unmatched=True)
    reading: dict[str, object] = {"unit": "angstrom"}
    again = run(particles, tmp_path / "angst.csv", tmp_path, rules=rules, reading=reading)
    assert again.matched == 1


def test_who_labelled_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(
        "halParticleId,halLabel,annotator,time\n"
        "T/000001,ribo,Ann Otator,2026-01-01T10:00:00Z\n"
        "T/000002,ribo,'=Ben,2026-01-01T10:00:01Z\n"
        "T/000003,apo,,2026-01-01T10:00:02Z\n"
    )
    for annotator, sources in (
        (None, ["Ann_Otator", "=Ben", "l.csv", "none"]),
        ("carla", ["carla", "carla", "carla", "none"]),
    ):
        result = label_import(
            table(), [read_labels(path)], tmp_path / "o", rules=Rules(), annotator=annotator
        )
        assert list(result.particles.text("halLabelSource")) == sources


@pytest.mark.parametrize(
    ("name", "said", "level"),
    [
        ("ribosme", "new class ribosme, nearly ribosome; if they are the same", "WARNING"),
        ("atpase", "new class: atpase", "INFO"),
        ("class_2", "new class: class_2", "INFO"),
        ("state_B", "new class: state_B", "INFO"),
    ],
)
def test_a_new_class_is_told_and_a_misspelt_one_warned_of(
    tmp_path, caplog, name: str, said: str, level: str
) -> None:
    particles = table(4, halLabel=["ribosome", "class_1", "state_A", "unlabelled"])
    run(particles, f"id,label\nT/000004,{name}\n", tmp_path)
    (record,) = [record for record in caplog.records if "new class" in record.message]
    assert record.message.startswith(said)
    assert record.levelname == level


def test_reserved_words_mean_the_same_wherever_they_are_given(tmp_path) -> None:
    rules = Rules(absent="Junk")
    done = run(table(3), "id,label\nT/000001,apo\nT/000002,JUNK\n", tmp_path, rules=rules)
    assert done.particles.labels.tolist() == ["apo", "junk", "junk"]
    rename_labels(done.particles, tmp_path, renames={"apo": "Unknown"}, file=tmp_path / "r.csv")
    assert read_particles([tmp_path / "particles.star"]).labels.tolist()[0] == "unknown"


def test_labels_are_compared_with_the_positions_that_there_are(tmp_path) -> None:
    """One particle without a position does not let the others through."""
    xs = ["100.0", "900.0", "nan"]
    where = {"halPositionXAngst": xs, "halPositionYAngst": xs, "halPositionZAngst": xs}
    particles = table(3, halTomogram=["T"] * 3, **where)
    head = (
        "halParticleId,halTomogram,halPositionXAngst,halPositionYAngst,halPositionZAngst,halLabel"
    )
    rows = "T/000001,T,900.0,900.0,900.0,apo\nT/000003,T,100.0,100.0,100.0,apo\n"
    with pytest.raises(InputError, match="the same id stands at another place") as error:
        run(particles, f"{head}\n{rows}", tmp_path)
    assert "1 (" in error.value.found
    assert "up to 1386 A away" in error.value.found


def test_the_classes_of_a_first_label_file_are_not_news(tmp_path, caplog) -> None:
    run(table(), "id,label\nT/000003,ribosme\n", tmp_path)
    assert "new class" not in caplog.text
