"""info: what each kind of file is, under the names that cli.md gives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd import __version__
from halcmd.errors import InputError
from halcmd.formats import relion_job
from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.mrc import open_volume
from halcmd.formats.mrc_writing import write_stack, write_volume
from halcmd.importers import IMPORTERS
from halcmd.intake.read import read_picks
from halcmd.networks import NETWORKS
from halcmd.particles import new_particles
from halcmd.steps.info import describe, installation, lines_of
from halcmd.strategies import STRATEGIES
from halcmd.tables import HistoryRow, running, write_particles

PICKS = {"file", "type", "producer", "particles", "tomograms", "coordinates", "images", "labels"}
COORDINATES = {"unit", "pixel_size", "pixel_size_from", "min", "max"}
IMAGES = {"kind", "pixel_size", "pixel_size_from", "box"}
XYZ = "_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"


def facts_of(path: Path) -> dict[str, object]:
    """The facts, which must be JSON and readable as lines."""
    facts = describe(path)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert all(isinstance(line, str) for line in lines_of(facts))
    return facts


# Rows, tomograms, and range of coordinates as shared/data/star/INDEX.md states them.
REAL = {
    "r31_refined_hiv.star": ("warp", 57, {"TS_01": 57}, [259.226, 858.427, 349.444], 5.0),
    "r31_tm_bin6_raw.star": ("warp", 1600, {"0243": 800, "0360": 800}, [1.667] * 3, 7.338),
    "r31_tm_bin6.star": ("warp", 177, None, [1.667, 5.0, 168.333], 7.338),
    "r30_warp1_3ptcl.star": ("warp", 3, {"01006": 3}, [115.955, 733.955, 366.455], 5.364),
    "r30_warp1_angles_last.star": ("warp", 16, {"tomo_ts01": 16}, [766.5, 544.5, 582.261], 5.0),
    "r40_class3d_TS017_A.star": ("relion4", 873, None, [6, 16, 588], 1.971),
    "warp2_matching.star": ("warp_2d", 1218, None, [44.904, 49.954, 25.276], 4.0),
    "r50_annot_TS_45_particles.star": ("relion5_annotations", 1672, {"TS_45": 1672}, None, None),
    "r50_annot_TS_54_particles.star": ("relion5_annotations", 1418, {"TS_54": 1418}, None, None),
    "pytom_SPEF1MT2_001.star": ("pytom", 2500, {"SPEF1MT2_001": 2500}, [12.0, 11.0, 67.0], 8.48),
    "chlamy_clathrin.star": ("relion4", 5999, None, [60.0, 60.0, 224.001], None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_picks_are_described(shared, name):
    producer, count, tomograms, low, pixel_size = REAL[name]
    facts = facts_of(shared / "star" / name)
    assert set(facts) >= PICKS | {"warnings"}
    assert (facts["file"], facts["producer"]) == (str(shared / "star" / name), producer)
    coordinates, images = facts["coordinates"], facts["images"]
    assert isinstance(coordinates, dict)
    assert isinstance(images, dict)
    assert set(coordinates) == COORDINATES
    assert set(images) == IMAGES
    assert coordinates["unit"] == "voxel"
    assert coordinates["pixel_size"] == pixel_size
    assert (coordinates["pixel_size_from"] is None) == (pixel_size is None)
    assert facts["particles"] == count
    if tomograms is not None:
        assert facts["tomograms"] == tomograms
    assert sum(facts["tomograms"].values()) == facts["particles"]  # type: ignore[attr-defined]
    if low is not None:
        assert coordinates["min"] == pytest.approx(low)


REFUSED = {
    "pipeline_short": "list of jobs",
    "select_backup_selection": "selected classes",
    "neg_spa_relion5": "in two dimensions: there is no rlnCoordinateZ",
}

# Classes as shared/data/star/INDEX.md states them, and where they stand.
CLASSES = {
    "r50_class3d_selected.star": ({"1": 188, "5": 285}, "rlnClassNumber"),
    "r31_refined_hiv.star": ({"1": 57}, "rlnClassNumber"),
    "r40_class3d_TS017_A.star": ({"1": 873}, "rlnClassNumber"),
    "stopgap_motl.star": ({"1": 240, "2": 238, "3": 251}, "class"),
    "dynamo_26col.tbl": ({"1": 1343}, "Class"),
    "imod_correct189.mod": ({"object_1": 74}, "format"),
    "warp2_matching.star": ({"unlabelled": 1218}, None),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_of_the_file_itself_are_counted(shared, name):
    facts = facts_of(shared / "star" / name)
    assert (facts["labels"], facts["labels_from"]) == CLASSES[name]


def test_classes_are_in_the_order_of_their_numbers(in_tmp):
    rows = "".join(f"T 1 2 3 {number}\n" for number in ("10", "2.000", "2", "<NA>", "a", "-1"))
    Path("p.star").write_text(f"data_\nloop_\n_rlnTomoName\n{XYZ}_rlnClassNumber\n{rows}")
    labels = facts_of(Path("p.star"))["labels"]
    assert isinstance(labels, dict)
    assert list(labels.items()) == [("2", 2), ("10", 1), ("-1", 1), ("a", 1), ("unlabelled", 1)]


def test_labels_of_halcmd_are_told_from_the_classes_of_the_file(in_tmp):
    columns = {"halParticleId": ["T/1", "T/2"], "rlnClassNumber": ["3", "3"]}
    write_particles(Path("bare.star"), new_particles(columns))
    facts = facts_of(Path("bare.star"))
    assert (facts["labels"], facts["labels_from"]) == ({"unlabelled": 2}, None)
    assert (facts["classes"], facts["classes_from"]) == ({"3": 2}, "rlnClassNumber")
    columns["halLabel"] = ["apo", "unlabelled"]
    write_particles(Path("labelled.star"), new_particles(columns))
    facts = facts_of(Path("labelled.star"))
    assert (facts["labels"], facts["labels_from"]) == ({"apo": 1, "unlabelled": 1}, "halLabel")


def test_every_real_star_file_is_described_or_refused_by_name(shared):
    for path in sorted((shared / "star").glob("*.star")):
        if path.stem in REFUSED:
            with pytest.raises(InputError, match=REFUSED[path.stem]) as error:
                describe(path)
            assert path.name in str(error.value.where)
            continue
        facts = facts_of(path)
        assert facts["type"] in {"picks", "particles", "tomograms", "optimisation_set"}
        assert facts["file"] == str(path)


def test_an_optimisation_set_names_its_files(shared):
    facts = facts_of(shared / "star" / "r50_optset_list_emptystring.star")
    assert facts["optimisation_set"] == {
        "particles": "Class3D/job017/run_it025_data.star",
        "tomograms": "Denoise/job008/tomograms.star",
    }
    assert "are not there" in str(facts["warnings"])


def test_particles_of_an_optimisation_set_are_described(shared, in_tmp):
    for name in ("warp2_matching.star", "warp2_matching_optimisation_set.star"):
        text = (shared / "star" / name).read_text()
        Path(name.replace("warp2_", "")).write_text(text)
    facts = facts_of(Path("matching_optimisation_set.star"))
    assert (facts["producer"], facts["particles"]) == ("warp_2d", 1218)


def test_tomograms_are_described(shared):
    facts = facts_of(shared / "star" / "r50_tomograms_halves_only.star")
    assert (facts["type"], len(facts["tomograms"])) == ("tomograms", 5)  # type: ignore[arg-type]
    assert (facts["size"], facts["voxel_size"]) == ([[4000, 4000, 2000]], [10.0])
    assert facts["volumes"] == [f"rlnTomoReconstructedTomogramHalf{half}" for half in (1, 2)]
    assert "TS_01" in "".join(lines_of(facts))
    warp = facts_of(shared / "star" / "warp2_matching_tomograms.star")
    assert (warp["size"], warp["voxel_size"]) == ([[4400, 6000, 1000]], [])
    assert warp["tilt_series_pixel_size"] == [0.7894]


STACK = "data_\nloop_\n_rlnImageName\n1@a.mrcs\n"
TILTS = "data_\nloop_\n_rlnTomoName\n_rlnImageName\nT a/1_stack2d.mrcs\n"
OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnImageDimensionality\n_rlnImageSize\n"
IMAGE = "\ndata_particles\nloop_\n_rlnImageName\n_rlnOpticsGroup\n"


@pytest.mark.parametrize("text", [STACK, TILTS, f"{OPTICS}1 2 64\n{IMAGE}a.mrc 1\n"])
def test_images_in_two_dimensions_without_coordinates_are_refused(in_tmp, text):
    Path("p.star").write_text(text)
    with pytest.raises(InputError, match="images in two dimensions") as error:
        describe(Path("p.star"))
    assert "picks in tomograms" in str(error.value.hint)


def test_picks_of_micrographs_are_refused_as_by_extract(shared, in_tmp):
    path = shared / "star" / "neg_spa_relion5.star"
    with pytest.raises(InputError) as by_info:
        describe(path)
    with pytest.raises(InputError) as by_extract:
        read_picks([path])
    assert by_info.value.render() == by_extract.value.render()
    Path("p.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n")
    with pytest.raises(InputError, match="no rlnCoordinateZ"):
        describe(Path("p.star"))


@pytest.mark.parametrize("image", ["a.mrc", "1@a.mrcs"])
def test_ready_subtomograms_need_no_coordinates(in_tmp, image):
    Path("p.star").write_text(f"{OPTICS}1 3 64\n{IMAGE}{image} 1\n")
    facts = facts_of(Path("p.star"))
    assert (facts["type"], facts["coordinates"]) == ("particles", None)
    assert facts["images"]["kind"] == ("stack" if "@" in image else "single")  # type: ignore[index]
    assert "need no extract" in str(facts["warnings"])


def test_a_stack_of_volumes_is_known_by_its_file(in_tmp, rng):
    boxes = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)
    write_stack(Path("a.mrcs"), [boxes], 2, 8, pixel_size=10.0)
    Path("p.star").write_text(STACK)
    assert facts_of(Path("p.star"))["images"]["kind"] == "stack"  # type: ignore[index]


@pytest.mark.parametrize("value", ["NaN", "<NA>", "None", "inf", "text"])
@pytest.mark.parametrize("column", ["rlnImageSize", "rlnImageDimensionality"])
def test_a_number_that_is_none_is_left_out_with_a_warning(in_tmp, column, value):
    optics = f"{OPTICS}_rlnImagePixelSize\n1 3 64 4.0\n"
    optics = optics.replace("64" if column == "rlnImageSize" else " 3 ", f" {value} ")
    particles = f"\ndata_particles\nloop_\n{XYZ}_rlnMicrographName\n_rlnImageName\n"
    Path("p.star").write_text(f"{optics}{particles}_rlnOpticsGroup\n50 50 20 T a.mrc 1\n")
    facts = facts_of(Path("p.star"))
    images = facts["images"]
    assert isinstance(images, dict)
    assert images["box"] == (None if column == "rlnImageSize" else 64)
    assert (images["kind"], images["pixel_size"]) == ("single", 4.0)
    assert column in str(facts["warnings"])


@pytest.mark.parametrize("value", ["NaN", "<NA>", '""'])
def test_a_tomogram_without_a_size_is_left_out_with_a_warning(in_tmp, value):
    names = ("Name", "TiltSeriesPixelSize", "TomogramBinning", "SizeX", "SizeY", "SizeZ")
    head = "".join(f"_rlnTomo{name}\n" for name in (*names, "ReconstructedTomogram"))
    rows = f"A 1.35 8 4000 4001 2000 a.mrc\nB {' '.join([value] * 5)} None\n"
    Path("t.star").write_text(f"data_global\nloop_\n{head}{rows}")
    facts = facts_of(Path("t.star"))
    assert facts["tomograms"] == {"A": 1, "B": 1}
    assert (facts["size"], facts["binning"]) == ([[4000, 4001, 2000]], [8.0])
    assert (facts["tilt_series_pixel_size"], facts["voxel_size"]) == ([1.35], [10.8])
    assert "rlnTomoSizeX is missing for 1 (B)" in facts["warnings"]  # type: ignore[operator]


def test_a_tomogram_with_text_for_a_size_is_described(in_tmp):
    head = "".join(f"_rlnTomo{name}\n" for name in ("Name", "SizeX", "SizeY", "SizeZ"))
    Path("t.star").write_text(f"data_global\nloop_\n{head}A big 4001 2000\n")
    facts = facts_of(Path("t.star"))
    assert (facts["type"], facts["size"]) == ("tomograms", [])
    assert "rlnTomoSizeX must be a number" in str(facts["warnings"])


def test_tilt_series_are_no_tomograms(in_tmp):
    head = "".join(f"_rlnTomo{name}\n" for name in ("Name", "TiltSeriesStarFile"))
    path = Path("tilt_series.star")
    path.write_text(f"data_global\nloop_\n{head}TS_01 Import/TS_01.star\n")
    facts = facts_of(path)
    assert (facts["type"], facts["tomograms"]) == ("tilt_series", {"TS_01": 1})
    assert "tomograms.star of the reconstruction job" in str(facts["warnings"])
    path.write_text(
        f"data_global\nloop_\n{head}_rlnTomoReconstructedTomogram\nTS_01 T.star rec.mrc\n"
    )
    assert facts_of(path)["type"] == "tomograms"


@pytest.mark.parametrize(
    ("scale", "inside", "words"),
    [
        ((3, 3, 3), 0, "all picks lie outside"),
        ((2.5, 2.5, 1), 31, "38 picks lie outside"),
        ((0.2, 0.2, 0.2), 69, "all picks lie in one corner"),
    ],
)
def test_picks_beside_their_tomogram_are_a_warning(shared, in_tmp, capsys, scale, inside, words):
    tomogram = shared / "real" / "microtubule" / "13pf_MT.mrc"
    (picks,) = read_picks([tomogram.with_name("picks.star")])
    rows = "".join(",".join(f"{v:.2f}" for v in xyz) + "\n" for xyz in picks.coordinates * scale)
    Path("p.csv").write_text(f"x,y,z\n{rows}")
    facts = describe(Path("p.csv"), [tomogram])
    assert facts["placement"]["13pf_MT"]["inside"] == inside
    (warning,) = facts["warnings"]
    assert words in warning
    assert "--coords" in warning
    assert capsys.readouterr() == ("", "")
    assert f"warnings           {warning}" in lines_of(facts)


def test_with_tomograms_the_picks_are_placed(shared):
    folder = shared / "real" / "microtubule"
    facts = describe(folder / "picks.star", [folder / "13pf_MT.mrc"])
    placed = facts["placement"]["13pf_MT"]
    assert (placed["picks"], placed["inside"]) == (69, 69)
    assert placed["max"] == [76.98, 184.0, 18.03]
    assert "voxels of the tomogram" in placed["reading"]


def test_images_of_particles_are_described(shared, in_tmp):
    facts = facts_of(shared / "star" / "r31_refined_hiv.star")
    assert facts["type"] == "particles"
    assert facts["images"] == {
        "kind": "single",
        "pixel_size": 5.0,
        "pixel_size_from": "rlnImagePixelSize",
        "box": 64,
    }
    assert "is not there" in str(facts["warnings"])
    stacks = facts_of(shared / "star" / "r50_polish_particles.star")
    assert stacks["images"]["kind"] == "stack2d"  # type: ignore[index]
    picks = facts_of(shared / "real" / "microtubule" / "picks.star")
    assert picks["type"] == "picks"
    assert picks["images"] == dict.fromkeys(IMAGES) | {"kind": "none"}
    assert picks["tomograms"] == {"13pf_MT": 69}
    assert picks["coordinates"]["max"] == [76.98, 184.0, 18.03]  # type: ignore[index]


def test_images_beside_the_table_are_found_from_anywhere(shared, in_tmp):
    facts = facts_of(shared / "real" / "mixed28" / "particles.star")
    assert facts["warnings"] == []


def test_halcmds_own_table_is_described(in_tmp, rng):
    boxes = rng.normal(size=(3, 8, 8, 8)).astype(np.float32)
    names = write_stack(Path("T.mrcs"), [boxes], 3, 8, pixel_size=10.0)
    columns = {
        "halParticleId": ["T/1", "T/2", "T/3"],
        "halTomogram": ["T"] * 3,
        "halPositionXAngst": ["1.0", "2.0", "3.0"],
        "halPositionYAngst": ["1.0", "2.0", "3.0"],
        "halPositionZAngst": ["1.0", "2.0", "4.0"],
        "halImageName": names,
        "halImagePixelSize": ["10.0"] * 3,
        "halImageSize": ["8"] * 3,
        "halLabel": ["apo", "unlabelled", "apo"],
        "halSplit": ["pool", "test", "pool"],
    }
    write_particles(Path("p.star"), new_particles(columns))
    facts = facts_of(Path("p.star"))
    assert (facts["type"], facts["producer"], facts["particles"]) == ("particles", "halcmd", 3)
    assert facts["coordinates"] == {
        "unit": "angstrom",
        "pixel_size": None,
        "pixel_size_from": None,
        "min": [1.0, 1.0, 1.0],
        "max": [3.0, 3.0, 4.0],
    }
    assert facts["images"] == {
        "kind": "stack",
        "pixel_size": 10.0,
        "pixel_size_from": "halImagePixelSize",
        "box": 8,
    }
    assert facts["labels"] == {"apo": 2, "unlabelled": 1}
    assert facts["split"] == {"pool": 2, "test": 1}
    assert facts["warnings"] == []


def test_csv_picks_are_described(in_tmp):
    Path("p.csv").write_text("x,y,z,tomogram\n1,2,3,rec_TS_01.mrc\n4,5,6,TS_01\n")
    facts = facts_of(Path("p.csv"))
    assert (facts["type"], facts["producer"], facts["particles"]) == ("picks", "csv", 2)
    assert facts["tomograms"] == {"TS_01": 2}
    assert facts["file"] == "p.csv"


def test_tomograms_star_is_described(shared):
    facts = facts_of(shared / "star" / "r50_tomograms_denoised.star")
    assert facts["type"] == "tomograms"
    assert len(facts["tomograms"]) == 5  # type: ignore[arg-type]
    assert facts["voxel_size"] == [10.0]


def test_volumes_are_described(in_tmp, shared):
    path = shared / "star" / "mrc" / "EMD-3197.map"
    facts = facts_of(path)
    assert facts["shape"] == [20, 20, 20]
    assert facts["voxel_size"] == pytest.approx([11.4] * 3)
    assert (facts["type"], facts["kind"], facts["mode"], facts["nan"]) == ("mrc", "volume", 2, 0)
    assert facts["mean"] == pytest.approx(0.783612, rel=1e-5)
    assert facts["sd"] == pytest.approx(2.39995, rel=1e-5)
    assert (facts["min"], facts["max"]) == pytest.approx((-4.13375, 5.55674), abs=0.03)
    facts = facts_of(shared / "star" / "mrc" / "warp2_2dstack.mrcs")
    assert (facts["kind"], facts["shape"]) == ("image_stack", [37, 32, 32])
    with pytest.raises(InputError, match="cut off"):
        describe(shared / "star" / "mrc" / "neg_header_only.mrc")


def test_a_stack_and_its_missing_values_are_described(in_tmp, rng):
    boxes = rng.normal(size=(3, 8, 8, 8)).astype(np.float32)
    write_stack(Path("T.mrcs"), [boxes], 3, 8, pixel_size=1.0)
    data = np.memmap("T.mrcs", np.float32, "r+", offset=1024, shape=boxes.shape)
    data[1, 2, 3, :4] = np.nan
    data.flush()
    facts = facts_of(Path("T.mrcs"))
    assert (facts["kind"], facts["shape"], facts["nan"]) == ("volume_stack", [3, 8, 8, 8], 4)
    assert facts["mean"] == pytest.approx(float(np.nanmean(data)), abs=1e-6)
    assert facts["warnings"] == ["no pixel size in the header"]


def test_single_extremes_are_not_missed(in_tmp):
    volume = np.zeros((8, 8, 8), dtype=np.float32)
    volume[3, 3, 3] = 9.0
    write_volume(Path("v.mrc"), volume, 10.0)
    facts = facts_of(Path("v.mrc"))
    assert (facts["min"], facts["max"]) == (0.0, 9.0)
    assert open_volume(Path("v.mrc")).pixel_size == 10.0


def test_a_job_folder_is_described(in_tmp):
    folder = Path("Label")
    relion_job.prepare(folder)
    with pytest.raises(InputError, match="no halcmd job"):
        describe(folder)
    token = running.set(HistoryRow("label-import", "halcmd label-import", "0", 0, "2026-01-01"))
    write_particles(folder / "particles.star", new_particles({"halParticleId": ["T/1"]}))
    running.reset(token)
    relion_job.mark(folder, "success")
    facts = facts_of(folder)
    assert (facts["type"], facts["state"], facts["outputs"]) == (
        "job",
        "success",
        ["particles.star"],
    )
    assert facts["particles"]["particles"] == 1  # type: ignore[index]
    assert facts["history"] == ["halcmd label-import"]


def test_a_model_is_described(in_tmp):
    info = ModelInfo(
        network="compact",
        widths=(8, 16),
        dropout=0.1,
        classes={"holo": 1, "apo": 2},
        box=32,
        pixel_size=10.0,
        contrast="bright",
        tilt_range=(-60.0, 60.0),
        provenance={"labelled": {"apo": 3, "holo": 4}},
    )
    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    write_model(Path("model.safetensors"), tensors, info)
    facts = facts_of(Path("model.safetensors"))
    assert facts == {
        "file": "model.safetensors",
        "type": "model",
        "producer": "halcmd",
        "network": "compact",
        "classes": ["holo", "apo"],
        "box": 32,
        "pixel_size": 10.0,
        "contrast": "bright",
        "normalisation": "zscore",
        "parameters": 17,
        "trained_on": {"labelled": {"apo": 3, "holo": 4}},
        "format_version": 1,
        "warnings": [],
    }


def test_the_installation_is_described():
    facts = installation()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["version"] == __version__
    assert facts["torch"] == torch.__version__
    assert facts["devices"][0] == "cpu"
    assert facts["importers"] == list(IMPORTERS)
    assert facts["strategies"] == list(STRATEGIES)
    assert facts["networks"] == list(NETWORKS)
    assert facts["strategy_options"]["bald"] == {"acquisition": "bald", "samples": 50}
    assert "random" not in facts["strategy_options"]


@pytest.mark.parametrize("name", ["nothing.star", "nothing.mrc", "nothing.safetensors", "nothing"])
def test_a_missing_file_is_named(in_tmp, name):
    with pytest.raises(InputError) as error:
        describe(Path(name))
    assert name in str(error.value.where)
