import os
import subprocess
import sys

import pytest
import torch

from halcmd.compute.device import (
    _device,
    _names,
    autocast,
    describe,
    devices,
    enough_memory,
    forward_batch,
    torch_generator,
    use,
    use_together,
    why_no_gpu,
)
from halcmd.compute.group import Group
from halcmd.compute.processes import Place
from halcmd.compute.threads import default_threads
from halcmd.errors import DeviceError, OptionError

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


@pytest.mark.parametrize("text", ["0,1", "0:1"])
def test_several_gpus_are_refused_where_a_step_uses_one(text):
    with pytest.raises(DeviceError, match="one GPU"):
        use(text, 1)


@pytest.mark.parametrize("text", ["97,98", "97:98"])
def test_several_gpus_that_are_not_there_are_an_error_before_any_process_starts(text):
    with pytest.raises(DeviceError, match="no GPU 97"):
        use_together(text, 1)


def test_a_gpu_named_twice_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="named twice"):
        use_together("1,1", 1)


def test_a_single_process_is_a_group_of_its_own_and_loads_no_more():
    script = (
        "import sys, torch\nfrom halcmd.compute.device import use_together\n"
        "device, group = use_together('cpu', 1)\n"
        "assert (group.rank, group.count, group.is_first) == (0, 1, True)\n"
        "one = torch.ones(2)\nassert group.sum(one) is one\n"
        "assert 'lightning_fabric' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("total", [0, 1, 5, 12, 40])
@pytest.mark.parametrize("unit", [1, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_contiguous_whole_batches_and_all_there_is(total, unit, count):
    shares = [Group(rank, count).share(total, unit=unit) for rank in range(count)]
    rows = [row for share in shares for row in range(total)[share]]
    assert rows == list(range(total))
    assert all(share.start % unit == 0 or share.start == total for share in shares)
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 2 * unit


@pytest.mark.parametrize(
    ("names", "seen", "place", "expected"),
    [
        ("auto", 4, Place(1, 2, 1, 2), 1),
        ("2,3", 4, Place(1, 2, 1, 2), 3),
        ("auto", 1, Place(1, 2, 1, 2), 0),  # srun shows each process its own GPU alone
        ("auto", 2, Place(3, 4, 1, 2), 1),  # second machine
    ],
)
def test_each_process_has_its_own_gpu(monkeypatch, names, seen, place, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _device(_names(names), place) == torch.device("cuda", expected)


def test_more_processes_than_gpus_are_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(DeviceError, match="more processes than GPUs"):
        _device(["auto"], Place(2, 3, 2, 3))


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


def test_too_little_memory_is_an_error_that_says_what_to_do():
    with pytest.raises(DeviceError, match="memory is too small") as error, enough_memory("--gpu 1"):
        raise torch.OutOfMemoryError
    assert error.value.hint == "--gpu 1"


@pytest.mark.parametrize(("box", "on_cpu", "on_gpu"), [(16, 256, 512), (40, 16, 262), (64, 4, 64)])
def test_batches_are_of_about_as_many_voxels(box, on_cpu, on_gpu):
    found = [forward_batch(box, torch.device(kind)) for kind in ("cpu", "cuda")]
    assert found == [on_cpu, on_gpu]


FAULTS = """
import resource, sys, torch
from halcmd.compute.device import use
if sys.argv[1] == "kept":
    use("cpu", 1)
found = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))
"""


def test_freed_memory_is_used_again_without_asking_the_system_for_it():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        for how in ("kept", "given back")
    }
    assert 10 * faults["kept"] < faults["given back"]


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_used():
    assert use("0", 1).type == "cuda"
