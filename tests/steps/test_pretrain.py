"""pretrain: which rows are learnt from, what is written, what is refused."""

import numpy as np
import pytest

from halcmd.errors import InputError, ModelError
from halcmd.formats.features import open_features
from halcmd.formats.model import read_info, read_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.formats.star import read_star
from halcmd.particles import new_particles
from halcmd.steps.pretrain import pretrain
from halcmd.steps.score import score
from halcmd.tables import read_particles
from halcmd.training.run import Compute

BOX, N = 16, 44
COMPUTE = Compute(seed=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """44 rows, the last 8 of the test; some labelled."""
    folder = tmp_path_factory.mktemp("boxes")
    boxes = np.random.default_rng(0).normal(size=(N, BOX, BOX, BOX)).astype(np.float32)
    names = write_stack(folder / "stack.mrcs", [boxes], N, BOX, pixel_size=12.0)
    return new_particles(
        {
            "halParticleId": [f"TS_1/{row:06d}" for row in range(N)],
            "halTomogram": ["TS_1"] * N,
            "halImageName": list(names),
            "halContrast": ["bright"] * N,
            "halTiltMin": [-60] * N,
            "halTiltMax": [60] * N,
            "halLabel": ["ball", "rod"] * 5 + ["unlabelled"] * 34,
            "halSplit": ["pool"] * 36 + ["test"] * 8,
        }
    )


def pretrained(table, folder, **settings):
    folder.mkdir(exist_ok=True)
    return pretrain(table, folder, **{"compute": COMPUTE, "epochs": 1, "batch": 12} | settings)


def test_it_writes_a_model_without_classes_and_the_same_rows(table, tmp_path):
    result = pretrained(table, tmp_path)
    info, _ = read_info(tmp_path / "model.safetensors")
    assert (info.network, info.box, info.classes) == ("compact", BOX, {})
    assert info.tilt_range == (-60, 60)
    assert info.provenance["pretrained_on"] == 36
    assert read_model(tmp_path / "model.safetensors").hash == result.model
    tensors = read_model(tmp_path / "model.safetensors").tensors
    assert not [name for name in tensors if "head" in name]
    curve = read_star(tmp_path / "training.star").table("training")
    assert curve.column("halStep") == ["3"]
    assert float(curve.column("halTrainLoss")[0]) == pytest.approx(result.loss)
    after = read_particles([tmp_path / "particles.star"])
    assert list(after.ids) == list(table.ids)
    assert after.table.labels == table.table.labels
    assert (tmp_path / "training.png").stat().st_size > 0
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_summary_has_plain_numbers(table, tmp_path):
    summary = pretrained(table, tmp_path).summary()
    assert summary["particles"] == 36
    assert (summary["epochs"], summary["steps"]) == (1.0, 3)


def test_test_rows_labels_and_the_order_of_rows_change_nothing(table, tmp_path):
    before = pretrained(table, tmp_path / "a").model
    order = np.random.default_rng(1).permutation(N)
    other = table.take(order).with_columns({"halLabel": ["ball"] * N})
    assert pretrained(other, tmp_path / "b").model == before
    assert pretrained(table.take(np.arange(36)), tmp_path / "c").model == before


def test_boxes_that_share_voxels_with_a_test_box_are_left_out(table, tmp_path):
    places = [f"{1000 * row}" for row in range(36)] + [f"{1000 * row}" for row in range(8)]
    columns = {"halPositionXAngst": places, "halPositionZAngst": ["0"] * N}
    columns["halPositionYAngst"] = ["500"] * 36 + ["0"] * 8
    columns["halPositionYAngst"][5] = "90"  # half a box is 96
    assert pretrained(table.with_columns(columns), tmp_path).particles == 35


def test_score_gives_embeddings_of_it(table, tmp_path):
    pretrained(table, tmp_path)
    (tmp_path / "score").mkdir()
    models = [tmp_path / "model.safetensors"]
    score(table, tmp_path / "score", models=models, compute=COMPUTE)
    assert open_features(tmp_path / "score" / "embedding.npy").shape == (N, 64)


def test_too_few_particles_are_refused(table, tmp_path):
    with pytest.raises(InputError, match="at least 16 particles") as error:
        pretrained(table.take(np.arange(21, 44)), tmp_path)
    assert error.value.found == "15 of 23"


def test_a_box_that_the_network_cannot_take_is_refused(table, tmp_path):
    with pytest.raises(ModelError, match="hal2021 cannot take boxes of 16 px"):
        pretrained(table, tmp_path, network="hal2021")


def test_a_checkpoint_of_train_is_not_resumed(table, tmp_path):
    from halcmd.formats.model import write_checkpoint

    write_checkpoint(tmp_path / "checkpoint.pt", {"settings": {"seed": "1"}})
    with pytest.raises(InputError, match="other settings or labels"):
        pretrained(table, tmp_path, resume=True)
