import os

import pytest
import torch

from halcmd.device import (
    autocast,
    describe,
    devices,
    torch_generator,
    use,
    why_no_gpu,
)
from halcmd.errors import DeviceError, OptionError
from halcmd.threads import default_threads

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")


def test_cpu_is_taken_when_asked_for():
    assert use("cpu", 1).type == "cpu"
    assert torch.get_num_threads() == 1


def test_the_default_number_of_threads_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert default_threads() == min(len(os.sched_getaffinity(0)), 8)


@pytest.mark.parametrize("text", ["", "auto", " AUTO "])
def test_auto_takes_what_is_there(text):
    assert use(text, 1).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_gpu_that_is_not_there_is_an_error_with_the_reason():
    with pytest.raises(DeviceError, match="no GPU 99") as error:
        use("99", 1)
    assert error.value.found


@pytest.mark.parametrize("text", ["gpu", "cuda:0", "-1"])
def test_other_words_are_refused(text):
    with pytest.raises(OptionError):
        use(text, 1)


def test_several_gpus_are_refused_in_relions_spelling_too():
    for text in ("0,1", "0:1"):
        with pytest.raises(DeviceError, match="one GPU"):
            use(text, 1)


def test_the_reason_for_the_cpu_is_given_where_there_is_no_gpu():
    assert (why_no_gpu() is None) == torch.cuda.is_available()
    assert devices()[0] == describe(torch.device("cpu")) == "cpu"


def test_bf16_runs_products_in_bf16_and_32_does_not():
    cpu, a = torch.device("cpu"), torch.ones(4, 4)
    with autocast(cpu, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(cpu, "auto"):
        assert (a @ a).dtype == torch.float32


def test_generators_are_keyed():
    cpu = torch.device("cpu")
    first, again, other = (torch.rand(1, generator=torch_generator(cpu, 1, k)) for k in "aab")
    assert first == again != other


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_used():
    assert use("0", 1).type == "cuda"
