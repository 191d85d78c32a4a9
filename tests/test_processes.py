import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.compute import processes
from halcmd.compute.processes import Place, place_of_this, start_others, waiting_signals

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
}
# What sbatch gives to a script of four tasks, and what srun adds.
SBATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SRUN = SBATCH | {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in [*TORCHRUN, *SRUN, "HALCMD_STARTED_BY", "MASTER_PORT", "OMP_NUM_THREADS"]:
        monkeypatch.setenv(name, "")  # so that what a test sets goes in the end
        monkeypatch.delenv(name)


def place(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return place_of_this()


def test_a_plain_process_is_alone(monkeypatch):
    assert place(monkeypatch) == Place()


def test_torchrun_says_which_process_this_is(monkeypatch):
    assert place(monkeypatch, **TORCHRUN) == Place(3, 4, 1, 2, "torchrun")


def test_a_single_process_of_torchrun_is_alone(monkeypatch):
    assert place(monkeypatch, **TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) == Place()


def test_srun_says_which_process_this_is(monkeypatch):
    assert place(monkeypatch, **SRUN) == Place(2, 4, 0, 2, "srun")


def test_a_batch_script_without_srun_is_alone(monkeypatch):
    assert place(monkeypatch, **SBATCH) == Place()


def test_torchrun_inside_of_srun_counts(monkeypatch):
    assert place(monkeypatch, **SRUN, **TORCHRUN).starter == "torchrun"


def test_the_others_run_the_same_command_in_their_own_place(monkeypatch):
    calls = []
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(processes.atexit, "register", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["halcmd", "train", "--gpu", "0:1:2"])
    here, others = start_others(3, threads=2)
    assert here == Place(0, 3, 0, 3, "halcmd")
    assert len(others) == 2
    assert [k["env"]["RANK"] for _, k in calls] == ["1", "2"]
    assert {tuple(a[0][1:]) for a, _ in calls} == {("-m", "halcmd", "train", "--gpu", "0:1:2")}
    assert os.environ["OMP_NUM_THREADS"] == calls[0][1]["env"]["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize("words", ["select --i p.star --o S/", "simulate --o S/"])
def test_steps_that_cannot_be_shared_say_so(monkeypatch, in_tmp, words):
    (in_tmp / "p.star").touch()
    place(monkeypatch, **TORCHRUN | {"RANK": "0"})
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2
    assert "runs as a single process" in done.stderr
    assert "without torchrun" in done.stderr
    assert not (in_tmp / "S").exists()


@pytest.fixture
def heeded():
    """SIGINT as Python has it, also where these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(signals: int, *, let_through: bool) -> str:
    """How far a block that is interrupted so often comes."""
    done = ""
    with waiting_signals() as ready:
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
            done += "s"
        if let_through:
            ready()
    return done


@pytest.mark.usefixtures("heeded")
def test_the_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, let_through=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
def test_a_signal_waits_until_it_is_let_through_and_none_is_made_up():
    assert interrupted(1, let_through=False) == "s"
    assert interrupted(0, let_through=True) == ""
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, let_through=True)


def test_threads_have_no_signals_to_wait_for():
    def work() -> None:
        with waiting_signals() as let_through:
            let_through()

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
    assert signal.getsignal(signal.SIGINT) is before
