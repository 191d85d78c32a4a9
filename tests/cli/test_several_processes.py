"""pretrain, train and score as two processes: results, errors, ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.formats.star import read_star
from halcmd.tables import read_particles

pytestmark = pytest.mark.slow

HALCMD = [sys.executable, "-m", "halcmd"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "halcmd"]
LONG = ["--validation", "0", "--steps", "5000", "--batch-size", "6", "--no-report"]


def halcmd(*words: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 particles with labels, and a model."""
    folder = tmp_path_factory.mktemp("project")
    scene = "--classes 2 --per-class 16 --box 16 --angpix 16 --snr 1 --test-fraction 0"
    halcmd("simulate", *scene.split(), "--o", f"{folder}/Sim")
    truth = ["--labels", f"{folder}/Sim/truth.star"]
    halcmd("label-import", "--i", f"{folder}/Sim/particles.star", *truth, "--o", f"{folder}/Label")
    how = ["--gpu", "cpu", "--steps", "2", "--validation", "0", "--no-report"]
    halcmd("train", "--i", f"{folder}/Label/particles.star", *how, "--o", f"{folder}/Train")
    return folder


def command(project: Path, name: str, output: Path, *more: str, gpu: str = "cpu") -> list[str]:
    table = project / "Label/particles.star"
    return [name, "--i", str(table), "--o", str(output), "--gpu", gpu, "--threads", "1", *more]


def start(words: list[str], **environment: str) -> subprocess.Popen[str]:
    pipe, env = subprocess.PIPE, {**os.environ, **environment}
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=env)


def others_of(output: Path) -> list[int]:
    """Processes with this output folder that are not the first of their job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(output).encode() in words and b"RANK=1" in environment:
            found.append(int(folder.name))
    return found


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def wait_until_gone(output: Path) -> None:
    until = time.monotonic() + 20
    while others_of(output):
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.1)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def rows(folder: Path) -> list[str]:
    """The scored particles as text, but for the history, in which the command stands."""
    return (folder / "particles.star").read_text().split("data_hal_history")[0].splitlines()


def curves(folder: Path) -> list[list[float]]:
    """Steps and losses."""
    [table] = read_star(folder / "training.star").tables
    return [[float(value) for value in table.column(label)] for label in table.labels[:2]]


@pytest.mark.parametrize("step", ["pretrain", "train"])
def test_two_processes_write_what_one_writes(project, tmp_path, step):
    """The weights are compared in double precision, by tests/training/test_together.py."""
    how = {
        "train": ["--steps", "3", "--validation", "0.3", "--batch-size", "9"],
        # Rounding grows from step to step, and here quickly: two steps.
        "pretrain": ["--epochs", "1", "--batch-size", "17"],
    }[step]
    how += ["--no-report"]
    halcmd(*command(project, step, tmp_path / "one", *how))
    words = command(project, step, tmp_path / "two", *how, gpu="cpu,cpu")
    code, _, err = ended(start([*HALCMD, *words]))
    assert (code, err) == (0, "")
    steps, losses = curves(tmp_path / "two")
    assert steps == curves(tmp_path / "one")[0]
    assert losses == pytest.approx(curves(tmp_path / "one")[1], rel=1e-3)
    written = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert written[0] == written[1]
    assert "RELION_JOB_EXIT_SUCCESS" in written[1]


def test_score_gives_the_same_rows_in_two_processes(project, tmp_path):
    how = ["--model", str(project / "Train/model.safetensors"), "--maps", "--no-report"]
    how += ["--batch-size", "5"]
    halcmd(*command(project, "score", tmp_path / "one", *how))
    code, _, err = ended(start([*TORCHRUN, *command(project, "score", tmp_path / "two", *how)]))
    assert code == 0, err
    # As srun starts them: two processes of one step of the job.
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NAME": "score", "SLURM_NTASKS": "2"}
    job |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0"}
    job |= {"SLURM_NODELIST": "localhost"}
    words = [*HALCMD, *command(project, "score", tmp_path / "srun", *how)]
    tasks = [start(words, **job, SLURM_PROCID=n, SLURM_LOCALID=n) for n in "01"]
    (first, heard, _), (second, silent, err) = map(ended, tasks)
    assert (first, second, silent) == (0, 0, ""), err
    assert "2 processes, started by srun" in heard
    for name in ("two", "srun"):
        assert rows(tmp_path / name) == rows(tmp_path / "one")
        for file in ("embedding.npy", "features.npy"):
            expected = (tmp_path / "one" / file).read_bytes()
            assert (tmp_path / name / file).read_bytes() == expected
        assert not list((tmp_path / name).glob(".halcmd-*"))
    assert len(read_particles([tmp_path / "two/particles.star"])) == 32


def test_a_killed_process_ends_the_job_which_resumes_with_one_process(project, tmp_path):
    output = tmp_path / "Train"
    process = start([*TORCHRUN, *command(project, "train", output, *LONG)])
    wait_for(output / "checkpoint.pt", process)
    for number in others_of(output):
        os.kill(number, signal.SIGKILL)
    code, _, err = ended(process)
    assert code != 0
    [error] = [line for line in err.splitlines() if line.startswith("ERROR:")]
    assert "another process of this job has ended" in error
    assert (output / "RELION_JOB_EXIT_FAILURE").exists()
    assert not (output / "model.safetensors").exists()
    wait_until_gone(output)
    again = start([*HALCMD, *command(project, "train", output, *LONG, "--resume")])
    wait_until_resumed(again)
    again.terminate()
    assert ended(again)[0] == 143


def wait_until_resumed(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("resumed at step"):
            return
    raise AssertionError("it has not gone on from the checkpoint")


def test_processes_that_halcmd_starts_end_with_it(project, tmp_path):
    output = tmp_path / "Train"
    words = [*HALCMD, *command(project, "train", output, *LONG, gpu="cpu,cpu")]
    process = start(words)
    wait_for(output / "checkpoint.pt", process)
    assert len(others_of(output)) == 1
    (output / "RELION_JOB_ABORT_NOW").touch()
    code, out, err = ended(process)
    assert (code, "stopped by RELION's abort file" in err) == (4, True), err
    assert "2 processes, started by halcmd" in out
    assert (output / "RELION_JOB_EXIT_ABORTED").exists()
    wait_until_gone(output)
    resumed = start([*words, "--resume"])  # with two processes, which then are interrupted
    wait_until_resumed(resumed)
    resumed.send_signal(signal.SIGINT)
    assert ended(resumed)[0] == 130
    wait_until_gone(output)


def test_a_process_that_dies_before_it_has_come_ends_the_job(project, tmp_path):
    output = tmp_path / "Train"
    process = start([*HALCMD, *command(project, "train", output, *LONG, gpu="cpu,cpu")])
    while not others_of(output):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for number in others_of(output):
        os.kill(number, signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1
    assert "ERROR: another process of this job has ended" in err
    assert (output / "RELION_JOB_EXIT_FAILURE").exists()


def test_a_process_that_hangs_does_not_keep_the_job_from_ending(project, tmp_path):
    output = tmp_path / "Pretrain"
    how = ["--epochs", "2000", "--batch-size", "6", "--no-report"]
    process = start([*HALCMD, *command(project, "pretrain", output, *how, gpu="cpu,cpu")])
    log = output / "run.log"
    wait_for(log, process)
    while "steps of 6" not in log.read_text():
        time.sleep(0.05)
    time.sleep(1.0)
    for number in others_of(output):
        os.kill(number, signal.SIGSTOP)
    time.sleep(1.0)
    process.terminate()
    code, _, err = ended(process)
    assert code == 1
    assert "ERROR: another process of this job has ended, or hangs" in err
    assert (output / "RELION_JOB_EXIT_FAILURE").exists()
    wait_until_gone(output)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two NVIDIA GPUs here")
def test_two_gpus_share_a_job(project, tmp_path):
    how = ["--steps", "6", "--batch-size", "6", "--validation", "0", "--no-report"]
    how += ["--precision", "32"]
    losses = []
    for gpu in ("0", "0,1"):
        output = tmp_path / gpu
        code, out, err = ended(start([*HALCMD, *command(project, "train", output, *how, gpu=gpu)]))
        assert code == 0, err
        losses.append(curves(output)[1][-1])
        model = ["--model", str(output / "model.safetensors"), "--no-report"]
        words = command(project, "score", tmp_path / f"score{gpu}", *model, gpu=gpu)
        code, out, err = ended(start([*HALCMD, *words]))
        assert code == 0, err
        assert ("2 processes" in out) == (gpu == "0,1")
        assert len(read_particles([tmp_path / f"score{gpu}/particles.star"])) == 32
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
