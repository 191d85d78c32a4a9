from pathlib import Path

import numpy as np
import pytest

from halcmd.columns import COLUMNS, owned_by
from halcmd.errors import InputError
from halcmd.formats.star import read_star
from halcmd.particles import new_particles, particles_of, tomogram_name, valid_label
from halcmd.tables import HistoryRow, join, read_particles, running, write_particles


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("TS_01.tomostar", "TS_01"),
        ("TS_01.mrc.tomostar", "TS_01"),
        ("/data/rec_TS_01_10.00Apx.mrc", "TS_01"),
        ("F:\\x\\01006_10.73Apx.mrc", "01006"),
        ("001", "001"),
        ("TS_017", "TS_017"),
        ("SPEF1MT2_001_8.48Apx", "SPEF1MT2_001"),
        ("TS_01_Vol.mrc", "TS_01"),
        ("rec_", "rec_"),
    ],
)
def test_tomogram_names_are_stripped_to_their_core(text, name):
    assert tomogram_name(text) == name


@pytest.mark.parametrize("label", ["ribosome", "class_1", "a.b-c", "junk"])
def test_class_names_that_are_allowed(label):
    assert valid_label(label)


@pytest.mark.parametrize("label", ["", "1", "70S", "NaN", "na", "None", "true", "a b", "_x", "ä"])
def test_class_names_that_are_not(label):
    assert not valid_label(label)


def test_first_contact_gives_ids_by_tomogram(tmp_path):
    path = tmp_path / "p.star"
    path.write_text("data_\nloop_\n_rlnTomoName\n_x\nTS_01.tomostar 1\nTS_02 1\nTS_01.tomostar 2\n")
    particles = read_particles([path])
    assert particles.ids.tolist() == ["TS_01/000001", "TS_02/000001", "TS_01/000002"]
    assert particles.ids_are_new


def test_ids_without_tomogram_take_the_name_of_the_file(tmp_path):
    path = tmp_path / "picks.star"
    path.write_text("data_\nloop_\n_x\n1\n2\n")
    assert read_particles([path]).ids.tolist() == ["picks/000001", "picks/000002"]


def test_a_step_replaces_all_its_columns():
    table = new_particles({"halParticleId": ["a/1"], "rlnX": ["1"]}).with_columns(
        {"halProbability_gone": ["1"], "halProbability": ["1"], "halLabel": ["x"]}
    )
    scored = table.with_columns({"halProbability_new": ["1"]}, owner="score")
    assert scored.table.labels == ["halParticleId", "rlnX", "halLabel", "halProbability_new"]


def test_every_column_has_an_owner_and_a_meaning():
    for name, column in COLUMNS.items():
        assert name.startswith("hal")
        assert column.meaning.endswith(".")
        assert column.kind in {"text", "integer", "number"}
    assert "halEntropy" in owned_by("score", ["halEntropy", "rlnX", "halSplit"])


def test_duplicate_ids_are_refused(tmp_path):
    path = tmp_path / "p.star"
    path.write_text("data_\nloop_\n_halParticleId\na/1\na/1\n")
    with pytest.raises(InputError, match="more than once"):
        read_particles([path])


def test_an_empty_table_is_refused(tmp_path):
    path = tmp_path / "p.star"
    path.write_text("data_particles\nloop_\n_rlnTomoName\n")
    with pytest.raises(InputError, match="empty"):
        read_particles([path])


def test_unknown_splits_are_refused():
    particles = new_particles({"halParticleId": ["a/1"], "halSplit": ["train"]})
    with pytest.raises(InputError, match="pool or test"):
        _ = particles.is_test


def test_a_number_that_is_none_names_its_row():
    particles = new_particles({"halParticleId": ["a/1", "a/2"], "x": ["1", "one"]})
    with pytest.raises(InputError) as error:
        particles.number("x")
    assert "row 2" in str(error.value.where)
    assert np.isnan(new_particles({"x": ["<NA>"]}).number("x")[0])


def two_tables(tmp_path: Path) -> list[Path]:
    paths = []
    for name, size in (("a", "10.0"), ("b", "12.0")):
        optics = f"data_optics\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 {size}\n\n"
        rows = f"data_particles\nloop_\n_halParticleId\n_rlnOpticsGroup\n{name}/1 1\n{name}/2 1\n"
        paths.append(tmp_path / f"{name}.star")
        paths[-1].write_text(optics + rows)
    return paths


def test_joined_tables_get_their_optics_groups_renumbered(tmp_path):
    joined = read_particles(two_tables(tmp_path))
    assert joined.text("rlnOpticsGroup").tolist() == ["1", "1", "2", "2"]
    optics = joined.star.table("optics")
    assert optics is not None
    assert optics.column("rlnImagePixelSize") == ["10.0", "12.0"]


def test_tables_with_other_columns_or_the_same_ids_are_not_joined(tmp_path):
    first, second = two_tables(tmp_path)
    with pytest.raises(InputError, match="more than once"):
        read_particles([first, first])
    second.write_text("data_particles\nloop_\n_halParticleId\nb/1\n")
    with pytest.raises(InputError, match="different columns"):
        read_particles([first, second])


def test_class_numbers_are_kept_and_new_ones_appended():
    particles = new_particles({"halParticleId": ["a/1"]}).with_class_numbers({"zebra": 1, "ant": 4})
    assert particles.with_classes({"bee", "ant"}).class_numbers() == {
        "zebra": 1,
        "ant": 4,
        "bee": 5,
    }


def test_class_numbers_that_contradict_are_not_joined():
    a = new_particles({"halParticleId": ["a/1"]}).with_class_numbers({"x": 1})
    b = new_particles({"halParticleId": ["b/1"]}).with_class_numbers({"y": 1})
    with pytest.raises(InputError, match="class numbers differ"):
        join([a, b])


def test_each_write_notes_the_command(tmp_path):
    path = tmp_path / "p.star"
    particles = new_particles({"halParticleId": ["a/1"]})
    for step in ("extract", "score"):
        row = HistoryRow(step, f"halcmd {step} --o 'a b/'", "0.1.0", 0, "2026-01-01T00:00:00Z")
        token = running.set(row)
        write_particles(path, particles, model="abc")
        running.reset(token)
        particles = read_particles([path])
    history = read_star(path).table("hal_history")
    assert history is not None
    assert history.column("halStep") == ["extract", "score"]
    assert history.column("halCommand")[0] == "halcmd extract --o 'a b/'"


def test_images_beside_the_table_are_found_from_anywhere(in_tmp):
    (in_tmp / "job" / "sub").mkdir(parents=True)
    (in_tmp / "job" / "sub" / "a.mrc").write_text("")
    star = in_tmp / "job" / "p.star"
    star.write_text("data_\nloop_\n_rlnImageName\nsub/a.mrc\n")
    particles = read_particles([star])
    assert particles.text("halImageName").tolist() == ["job/sub/a.mrc"]
    assert particles.text("rlnImageName").tolist() == ["sub/a.mrc"]


def test_the_particle_block_is_found_by_name(shared):
    for name, count in (
        ("r30_warp1_3ptcl", 3),
        ("r50_polish_particles", 453),
        ("stopgap_motl", 729),
    ):
        assert len(particles_of(read_star(shared / "star" / f"{name}.star"))) == count
    with pytest.raises(InputError, match="no table of particles"):
        particles_of(read_star(shared / "star" / "r50_tomograms_denoised.star"))
