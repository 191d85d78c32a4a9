import json
import pickle
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from halcmd.errors import InputError, ModelError
from halcmd.formats.model import (
    FORMAT_VERSION,
    ModelInfo,
    check_fits,
    hash_of,
    hash_of_hashes,
    read_checkpoint,
    read_info,
    read_model,
    write_checkpoint,
    write_model,
)
from halcmd.networks.classifier import load_model, new_network

CPU = torch.device("cpu")
INFO = ModelInfo(
    network="compact",
    widths=(16, 16, 16, 16),
    dropout=0.2,
    classes={"ribosome": 1, "junk": 4, "atpase": 7},
    box=16,
    pixel_size=13.33,
    contrast="bright",
    tilt_range=(-60.0, 54.5),
    temperature=1.37,
    provenance={"seed": 3, "labelled": {"ribosome": 5, "junk": 9, "atpase": 2}},
)


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = new_network("compact", box=16, n_classes=3, widths=INFO.widths)
        made.train()(torch.randn(4, 1, 16, 16, 16))  # running statistics other than 0 and 1
        return made


@pytest.fixture
def path(tmp_path, network) -> Path:
    write_model(tmp_path / "model.safetensors", network.state_dict(), INFO)
    return tmp_path / "model.safetensors"


def test_a_model_comes_back_as_it_was_written(path, network):
    stored = read_model(path)
    assert stored.info == INFO
    assert list(stored.info.classes) == ["ribosome", "junk", "atpase"]
    assert all(torch.equal(stored.tensors[k], v) for k, v in network.state_dict().items())


def test_a_loaded_model_answers_as_the_one_that_was_written(path, network):
    loaded = load_model(path, device=CPU)
    inputs = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not loaded.network.training
    expected = network.eval()(inputs)
    torch.testing.assert_close(loaded.network(inputs), expected, atol=1e-5, rtol=1e-5)
    assert (loaded.info, loaded.hash) == (INFO, hash_of(network.state_dict()))


def test_the_same_model_has_the_same_bytes(tmp_path, network):
    for name in "ab":
        write_model(tmp_path / name, network.state_dict(), INFO)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_hash_names_tensors_and_nothing_else(tmp_path, network):
    tensors = network.state_dict()
    before = write_model(tmp_path / "a", tensors, INFO)
    assert before == write_model(tmp_path / "b", tensors, replace(INFO, temperature=2.0))
    assert before == hash_of(dict(reversed(tensors.items())))
    assert len(before) == 16
    tensors["head.1.bias"] = tensors["head.1.bias"] + 1e-6
    assert before != hash_of(tensors)


def test_the_hash_does_not_depend_on_the_memory_layout(network):
    before = hash_of(network.state_dict())
    assert before == hash_of(network.to(memory_format=torch.channels_last_3d).state_dict())


def test_the_hash_of_an_ensemble():
    assert hash_of_hashes(["abc"]) == "abc"
    assert hash_of_hashes(["abc", "def"]) not in {"abc", "def", hash_of_hashes(["def", "abc"])}


def test_info_is_read_without_the_tensors(path, network):
    info, parameters = read_info(path)
    assert info == INFO
    assert parameters == sum(weight.numel() for weight in network.parameters())


def test_a_pretrained_model_has_no_classes(tmp_path):
    network = new_network("compact", box=16, n_classes=0)
    info = replace(INFO, classes={}, widths=network.widths, tilt_range=None)
    write_model(tmp_path / "m", network.state_dict(), info)
    assert load_model(tmp_path / "m", device=CPU).info == info


@pytest.mark.parametrize("reader", [read_model, read_info])
@pytest.mark.parametrize(
    ("contents", "found"),
    [
        (b"", ""),
        (b"data_particles\n", ""),
        ("truncated", ""),
        ("foreign", "without halcmd's header"),
        ("garbled", "lacks or garbles"),
    ],
)
def test_what_is_no_model_is_refused(path, reader, contents, found):
    if contents == "truncated":
        contents = path.read_bytes()[:-100]
    if contents in ("foreign", "garbled"):
        header = {"halcmd": '{"format_version": 1}'} if contents == "garbled" else {"a": "b"}
        save_file({"weight": torch.zeros(2)}, path, metadata=header)
    else:
        path.write_bytes(contents)
    with pytest.raises(ModelError, match="no model of halcmd, or it is damaged") as error:
        reader(path)
    assert found in error.value.found
    assert error.value.where == str(path)


def test_a_missing_model_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_model(tmp_path / "model.safetensors")


def test_a_model_of_a_later_version_is_refused(tmp_path):
    facts = json.dumps({"format_version": FORMAT_VERSION + 1, "network": "transformer"})
    save_file({"weight": torch.zeros(2)}, tmp_path / "m", metadata={"halcmd": facts})
    with pytest.raises(ModelError, match="later halcmd") as error:
        read_model(tmp_path / "m")
    assert str(FORMAT_VERSION + 1) in error.value.found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "perceptron"}, "network of this model is not known"),
        ({"widths": (16, 32, 32, 32)}, "do not fit its network"),
    ],
)
def test_tensors_that_do_not_fit_the_header_are_refused(tmp_path, network, changes, message):
    write_model(tmp_path / "m", network.state_dict(), replace(INFO, **changes))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m", device=CPU)


def fits(**changes):
    facts = {"box": 16, "pixel_size": 13.33, "contrast": "bright"} | changes
    check_fits(INFO, **facts, where=Path("model.safetensors"))


@pytest.mark.parametrize("pixel_size", [13.33, 13.33 * 1.009, 13.33 / 1.009])
def test_a_model_fits_boxes_of_its_kind(pixel_size):
    fits(pixel_size=pixel_size)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"box": 24}, "boxes of 16 px in the model, 24 px here"),
        ({"pixel_size": 13.33 * 1.02}, "13.33 A per pixel in the model, 13.5966 A here"),
        ({"contrast": "dark"}, "contrast bright in the model, dark here"),
        ({"contrast": "unknown"}, "contrast bright in the model, unknown here"),
    ],
)
def test_a_model_refuses_other_boxes(changes, found):
    with pytest.raises(ModelError, match="other boxes") as error:
        fits(**changes)
    assert error.value.found == found


def test_a_checkpoint_comes_back(tmp_path):
    state = {"step": 3, "weights": {"a": torch.arange(3.0)}, "history": [0.5, float("nan")]}
    write_checkpoint(tmp_path / "c.pt", state)
    back = read_checkpoint(tmp_path / "c.pt")
    assert back["step"] == 3
    assert torch.equal(back["weights"]["a"], state["weights"]["a"])


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_checkpoint_that_holds_code_is_refused(tmp_path, capsys):
    torch.save({"step": Harmful()}, tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(pickle.dumps(Harmful(), protocol=2))
    (tmp_path / "e.pt").write_bytes(b"")
    for name in "cde":
        with pytest.raises(InputError, match="checkpoint cannot be read"):
            read_checkpoint(tmp_path / f"{name}.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.fixture
def small_files(path) -> Iterator[None]:
    """No file may become as large as the model."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_and_leaves_the_earlier_file(path, network, small_files):
    before = path.read_bytes()
    for write in (
        lambda: write_model(path, network.state_dict(), INFO),
        lambda: write_checkpoint(path, {"weights": torch.zeros(10_000)}),
    ):
        with pytest.raises(InputError, match="cannot write here") as error:
            write()
        assert error.value.where == str(path)
        assert path.read_bytes() == before
        assert [item.name for item in path.parent.iterdir()] == [path.name]
