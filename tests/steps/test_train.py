"""train: which rows are learnt from, what is refused, what is written, and that it repeats."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd import console
from halcmd.console import log
from halcmd.errors import DeviceError, DryRun, InputError, ModelError
from halcmd.formats.model import read_info, read_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.formats.star import read_star
from halcmd.particles import Particles, new_particles
from halcmd.steps import train as train_step
from halcmd.steps.pretrain import pretrain
from halcmd.steps.train import TrainResult, train
from halcmd.tables import read_particles, write_particles
from halcmd.training import run as training_run
from halcmd.training.learnable import near_test
from halcmd.training.recipes import Changes
from halcmd.training.run import Compute

BOX, PIXEL = 16, 12.0
N = 40
QUICK = Changes(steps=6, batch=8, semi_supervised=False)


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    log.propagate = False


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Particles:
    """40 rows of 2 tomograms: rod and ball by turns, 32 labelled, 4 unlabelled, 4 test."""
    folder = tmp_path_factory.mktemp("boxes")
    rng = np.random.default_rng(0)
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    widths = [np.roll([3, 3, 9 if row % 2 else 3], row) for row in range(N)]
    boxes = [
        3 * np.exp(-((z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2)) + rng.normal(size=(BOX,) * 3)
        for a, b, c in widths
    ]
    names = write_stack(
        folder / "stack.mrcs", [np.array(boxes, dtype=np.float32)], N, BOX, pixel_size=PIXEL
    )
    columns: dict[str, list[object]] = {
        "halParticleId": [f"TS_{row % 4 // 2}/{row:06d}" for row in range(N)],
        "halTomogram": [f"TS_{row % 4 // 2}" for row in range(N)],
        "halImageName": list(names),
        "halContrast": ["bright"] * N,
        "halTiltMin": [-60] * N,
        "halTiltMax": [60] * N,
        "halLabel": [*(("ball", "rod")[row % 2] for row in range(36)), *["unlabelled"] * 4],
        "halSplit": ["test" if 32 <= row < 36 else "pool" for row in range(N)],
    }
    for axis in "XYZ":
        columns[f"halPosition{axis}Angst"] = [f"{1000 * row:.1f}" for row in range(N)]
    return new_particles(columns)


def labelled(table: Particles, **labels: str) -> Particles:
    """The table with some labels changed: ``row_3="junk"``."""
    texts = list(table.labels)
    for name, label in labels.items():
        texts[int(name.removeprefix("row_"))] = label
    return table.with_columns({"halLabel": texts})


def trained(table: Particles, folder: Path, **settings: object) -> TrainResult:
    folder.mkdir(exist_ok=True)
    settings = {"compute": Compute(seed=1), "changes": QUICK, "report": False} | settings
    return train(table, folder, **settings)


def test_it_writes_model_curves_and_the_same_rows(table, tmp_path):
    result = trained(table, tmp_path)
    info, _ = read_info(tmp_path / "model.safetensors")
    assert (info.network, info.box, info.pixel_size) == ("compact", BOX, PIXEL)
    assert (info.contrast, info.tilt_range) == ("bright", (-60.0, 60.0))
    assert info.classes == {"ball": 1, "rod": 2}
    assert info.provenance["labelled"] == {"ball": 16, "rod": 16}
    assert read_model(tmp_path / "model.safetensors").hash == result.model
    curves = read_star(tmp_path / "training.star").table("training")
    assert curves.column("halStep") == ["6"]
    assert float(curves.column("halValidationLoss")[0]) > 0
    after = read_particles([tmp_path / "particles.star"])
    assert list(after.ids) == list(table.ids)
    assert after.table.labels == [*table.table.labels, "halLabelProbability", "halSuspectedClass"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.safetensors", "training.star", "particles.star"}


def test_the_summary_has_the_keys_of_the_command_line(table, tmp_path):
    summary = trained(table, tmp_path).summary()
    assert list(summary) == ["labelled", "classes", "epochs", "steps", "validation", "seconds"]
    assert summary["labelled"] == 32
    assert summary["classes"] == {"ball": 16, "rod": 16}
    assert summary["steps"] == 6
    assert set(summary["validation"]) == {"accuracy", "loss", "ece"}
    assert 0 <= summary["validation"]["accuracy"] <= 1


def test_the_same_seed_gives_the_same_files_whatever_the_order_of_rows(table, tmp_path):
    order = np.random.default_rng(1).permutation(N)
    trained(table, tmp_path / "a", report=True)
    trained(table.take(order), tmp_path / "b", report=True)
    plots = ("training.png", "calibration.png", "report.html")
    for name in ("model.safetensors", "training.star", *plots):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_test_rows_and_unknown_and_skip_are_not_learnt_from(table, tmp_path):
    before = trained(table, tmp_path / "a")
    changed = labelled(table, row_33="ball", row_34="other", row_38="unknown", row_39="skip")
    after = trained(changed, tmp_path / "b")
    assert after.model == before.model
    assert after.classes == {"ball": 16, "rod": 16}


def test_junk_is_a_class_like_others(table, tmp_path):
    junk = {f"row_{row}": "junk" for row in range(6)}
    assert trained(labelled(table, **junk), tmp_path).classes == {"ball": 13, "rod": 13, "junk": 6}


def test_rows_close_to_a_test_row_are_left_out_and_counted(table, tmp_path, caplog):
    columns = {f"halPosition{axis}Angst": table.text(f"halPosition{axis}Angst") for axis in "XYZ"}
    for values in columns.values():
        values[0], values[3] = "32000.0", "35000.0"
    columns["halPositionXAngst"][0] = (
        "32095.9"  # row 32 is test, of the same tomogram: 0.1 A inside
    )
    columns["halPositionXAngst"][3] = "35096.1"  # 0.1 A outside half a box
    assert trained(table.with_columns(columns), tmp_path).labelled == 31
    assert "left out 1 (closer than half a box to a test particle)" in caplog.text


def test_near_test_is_what_brute_force_finds():
    rng = np.random.default_rng(0)
    n = 200
    columns = {f"halPosition{axis}Angst": rng.uniform(0, 100, n).round(3) for axis in "XYZ"}
    columns["halPositionXAngst"][:9] = np.nan
    columns["halTomogram"] = rng.choice(["TS_1", "TS_2", "TS_3"], n)
    columns["halSplit"] = np.where(rng.random(n) < 0.2, "test", "pool")
    particles = new_particles({"halParticleId": [f"a/{row}" for row in range(n)]} | columns)
    rows = np.flatnonzero(~particles.is_test)
    tests = np.flatnonzero(particles.is_test)
    place, tomogram = particles.positions, particles.tomograms
    expected = [
        any(
            tomogram[row] == tomogram[test] and math.dist(place[row], place[test]) < 20.0
            for test in tests
        )
        for row in rows
    ]
    assert 10 < sum(expected) < 150
    assert list(near_test(particles, rows, 20.0)) == expected


def test_class_numbers_of_the_table_are_kept(table, tmp_path):
    numbered = table.with_class_numbers({"rod": 1, "wheel": 2, "ball": 5})
    trained(numbered, tmp_path)
    assert read_info(tmp_path / "model.safetensors")[0].classes == {"rod": 1, "ball": 5}


def test_too_few_labels_for_validation_train_on_all(table, tmp_path, caplog):
    few = labelled(table, **{f"row_{row}": "unlabelled" for row in range(4, 32)})
    result = trained(few, tmp_path)
    assert result.labelled == 4
    assert result.summary()["validation"] == {"accuracy": None, "loss": None, "ece": None}
    assert "validation: none (too few labels)" in caplog.text
    assert "fewer than 3 labels: 2 (ball 2, rod 2)" in caplog.text
    assert read_info(tmp_path / "model.safetensors")[0].temperature == 1.0


def test_unknown_tilts_are_said_and_an_option_gives_them(table, tmp_path, caplog):
    bare = table.without(["halTiltMin", "halTiltMax"])
    trained(bare, tmp_path / "a")
    assert "tilt range unknown" in caplog.text
    trained(bare, tmp_path / "b", tilt_range=(-50.0, 55.0))
    assert read_info(tmp_path / "b" / "model.safetensors")[0].tilt_range == (-50.0, 55.0)


def test_no_label_is_an_error(table, tmp_path):
    with pytest.raises(InputError, match="no particle of the pool has a label"):
        trained(table.without(["halLabel"]), tmp_path)


def test_labels_of_test_rows_alone_are_an_error_that_says_so(table, tmp_path):
    only = labelled(table, **{f"row_{row}": "unlabelled" for row in range(32)})
    with pytest.raises(InputError, match="no particle of the pool") as error:
        trained(only, tmp_path)
    assert "4 labelled test particles" in error.value.found


def test_one_class_is_an_error(table, tmp_path):
    ones = labelled(table, **{f"row_{row}": "ball" for row in range(32)})
    with pytest.raises(InputError, match="at least two classes") as error:
        trained(ones, tmp_path)
    assert error.value.found == "ball 32"


def test_fewer_labels_than_classes_are_an_error_with_counts(table, tmp_path):
    few = labelled(table, **{f"row_{row}": "unlabelled" for row in range(3, 32)})
    known = few.with_class_numbers({name: place for place, name in enumerate("abcd", 1)})
    with pytest.raises(InputError, match=r"fewer labelled particles \(3\) than classes \(4\)") as e:
        trained(known, tmp_path)
    assert e.value.found == "ball 2, rod 1"


def test_a_box_that_the_network_cannot_take_is_an_error(table, tmp_path):
    with pytest.raises(ModelError, match="hal2021 cannot take boxes of 16 px") as error:
        trained(table, tmp_path, preset="code")
    assert "even boxes from 24" in error.value.found


def test_a_dry_run_checks_and_writes_nothing(table, tmp_path):
    console.configure(dry_run=True)
    with pytest.raises(DryRun, match=r"train compact on 32 particles of 2 classes"):
        trained(table, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_report_that_fails_leaves_where_to_go_on(table, tmp_path, monkeypatch):
    def full(*_, **__):
        raise InputError("cannot write here")

    monkeypatch.setattr(train_step, "write_training_report", full)
    with pytest.raises(InputError, match="cannot write here"):
        trained(table, tmp_path, report=True)
    assert (tmp_path / "checkpoint.pt").exists()


def test_it_starts_from_an_earlier_round_shrunk_and_perturbed(table, tmp_path, caplog):
    trained(table, tmp_path / "a")
    start = tmp_path / "a" / "model.safetensors"
    still = replace(QUICK, steps=1, learning_rate=1e-9)
    settings = {"validation": 0.0, "changes": still}
    trained(table, tmp_path / "fresh", **settings)
    trained(table, tmp_path / "b", init_model=start, **settings)
    before, fresh, after = (
        read_model(tmp_path / name / "model.safetensors").tensors for name in ("a", "fresh", "b")
    )
    assert "trunk and neck and head, shrunk and perturbed" in caplog.text
    for name in ("trunk.0.0.weight", "trunk.0.1.weight", "head.1.weight", "head.1.bias"):
        expected = 0.5 * before[name] + 0.1 * fresh[name]
        torch.testing.assert_close(after[name], expected, atol=1e-5, rtol=1e-4)
    third = labelled(table, row_0="junk", row_1="junk")
    trained(third, tmp_path / "c", init_model=start, **settings)
    other = read_model(tmp_path / "c" / "model.safetensors").tensors
    assert "trunk and neck, shrunk and perturbed" in caplog.text
    torch.testing.assert_close(
        after["trunk.0.0.weight"], other["trunk.0.0.weight"], atol=1e-5, rtol=1e-4
    )
    assert other["head.1.weight"].shape[0] == 3


def test_it_starts_from_a_pretrained_model_as_it_is(table, tmp_path, caplog):
    (tmp_path / "pre").mkdir()
    pretrain(table, tmp_path / "pre", compute=Compute(seed=1), epochs=1, batch=16)
    start = tmp_path / "pre" / "model.safetensors"
    still = replace(QUICK, steps=1, learning_rate=1e-9)
    trained(table, tmp_path / "a", init_model=start, changes=still, validation=0.0)
    before, after = read_model(start), read_model(tmp_path / "a" / "model.safetensors")
    assert f"started from {before.hash}: trunk and neck\n" in caplog.text
    for name in ("trunk.0.0.weight", "trunk.3.second.1.weight"):
        torch.testing.assert_close(before.tensors[name], after.tensors[name])


def test_with_few_labels_all_are_trained_on_and_each_is_held_out_once(table, tmp_path, monkeypatch):
    fits, semi_supervised = [], []
    fit = train_step.fit

    def watch(*arguments, training, validation, recipe, **settings):
        fits.append((set(training.rows), set(validation.rows)))
        semi_supervised.append(recipe.consistency is not None)
        settings |= {"training": training, "validation": validation, "recipe": recipe}
        return fit(*arguments, **settings)

    monkeypatch.setattr(train_step, "fit", watch)
    result = trained(table, tmp_path, changes=replace(QUICK, semi_supervised=True))
    assert semi_supervised == [False, False, False, True]
    *on_folds, (last, nothing) = fits
    assert len(on_folds) == 3
    assert last == set(range(32))
    assert nothing == set()
    held = [row for _, validation in on_folds for row in validation]
    assert sorted(held) == list(range(32))
    assert all(not training & validation for training, validation in on_folds)
    assert result.accuracy is not None
    curves = read_star(tmp_path / "training.star").table("training")
    assert float(curves.column("halValidationLoss")[0]) > 0


def test_semi_supervised_learns_from_unlabelled_rows_of_the_pool_alone(
    table, tmp_path, monkeypatch, caplog
):
    seen = []
    fit = train_step.fit

    def watch(*arguments, unlabelled, **settings):
        seen.append(list(unlabelled))
        return fit(*arguments, unlabelled=unlabelled, **settings)

    monkeypatch.setattr(train_step, "fit", watch)
    default = replace(QUICK, steps=102, semi_supervised=None)
    after = trained(table, tmp_path / "a", changes=default, validation=0.0)
    assert seen.pop() == [36, 37, 38, 39]
    assert "unlabelled particles that are learnt from too: 4, after 100 steps" in caplog.text
    beside = {f"halPosition{axis}Angst": table.text(f"halPosition{axis}Angst") for axis in "XYZ"}
    for values in beside.values():
        values[38] = values[34]  # a test particle of the same tomogram
    trained(table.with_columns(beside), tmp_path / "beside", changes=default, validation=0.0)
    assert seen.pop() == [36, 37, 39], "a box that shares voxels with a test box"
    info, _ = read_info(tmp_path / "a" / "model.safetensors")
    assert info.provenance["unlabelled"] == 4
    alone = replace(default, semi_supervised=False)
    without = trained(table, tmp_path / "b", changes=alone, validation=0.0)
    assert after.model != without.model
    trained(table, tmp_path / "c", changes=replace(default, steps=100), validation=0.0)
    assert "not learnt from: they come in after 100 steps" in caplog.text
    assert seen[-1] == []


def test_an_initial_model_of_other_boxes_is_refused(table, tmp_path):
    trained(table, tmp_path / "a")
    dark = table.with_columns({"halContrast": ["dark"] * N})
    with pytest.raises(ModelError, match="other boxes"):
        trained(dark, tmp_path / "b", init_model=tmp_path / "a" / "model.safetensors")


def test_too_little_device_memory_halves_the_batch_once(table, tmp_path, monkeypatch, caplog):
    take_step, sizes = training_run.Run.take_step, []

    def short_of_memory(run, *arguments):
        sizes.append(run.recipe.batch)
        if run.recipe.batch > limit:
            raise torch.OutOfMemoryError
        take_step(run, *arguments)

    monkeypatch.setattr(training_run.Run, "take_step", short_of_memory)
    limit = 4
    done = trained(table, tmp_path / "a")
    assert done.steps == 6
    assert done.epochs == round(6 * 4 / 32, 1)
    assert sizes == [8] + [4] * 6 * 4
    assert "memory is too small for batches of 8" in caplog.text
    limit = 3
    with pytest.raises(DeviceError, match="memory is too small") as error:
        trained(table, tmp_path / "b")
    assert "--batch-size 2" in error.value.hint


def command(table: Path, folder: Path, *more: str) -> list[str]:
    words = ["train", "--i", str(table), "--o", str(folder), "--gpu", "cpu", "--threads", "1"]
    return [sys.executable, "-m", "halcmd", *words, "--steps", "60", *more]


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_gives_the_same_model(table, tmp_path):
    path = tmp_path / "particles.star"
    write_particles(path, table)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(path, tmp_path / "a"), check=True, **quiet)
    for checkpoint in ("checkpoint-fold2.pt", "checkpoint.pt"):
        folder = tmp_path / checkpoint
        process = subprocess.Popen(command(path, folder), **quiet)
        while not (folder / checkpoint).exists() and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        subprocess.run(command(path, folder, "--resume"), check=True, **quiet)
        for name in ("model.safetensors", "training.star"):
            assert (folder / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
