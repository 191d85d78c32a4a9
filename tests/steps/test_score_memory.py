"""score's memory hardly grows with the pool: rows keep their text, and nothing else is kept."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from halcmd.formats.model import ModelInfo, write_model
from halcmd.formats.mrc_writing import write_stack
from halcmd.networks.classifier import new_network
from halcmd.particles import new_particles
from halcmd.tables import write_particles

BOX, FEW, MANY = 16, 10_000, 50_000  # with fewer, what is there once counts too
BYTES_PER_PARTICLE = 600  # some 400 are needed; a column of text is 60 to 100
WIDTHS = (2, 2, 2, 2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that takes next to no time."""
    info = ModelInfo(
        network="compact",
        widths=WIDTHS,
        dropout=0.2,
        classes={name: number for number, name in enumerate("abcdef", 1)},
        box=BOX,
        pixel_size=10.0,
        contrast="bright",
        tilt_range=None,
        temperature=1.0,
    )
    with torch.random.fork_rng():
        network = new_network("compact", box=BOX, n_classes=6, widths=WIDTHS)
    write_model(tmp_path / "model.safetensors", network.state_dict(), info)
    return tmp_path / "model.safetensors"


def repeated(path: Path, count: int) -> Path:
    """A table of so many particles that share 64 boxes."""
    rng = np.random.default_rng(1)
    boxes = rng.normal(size=(64, BOX, BOX, BOX)).astype(np.float32)
    names = write_stack(path.with_suffix(".mrcs"), [boxes], 64, BOX, pixel_size=10.0)
    columns = {
        "halParticleId": [f"TS_01/{row:06d}" for row in range(count)],
        "halImageName": [names[row % 64] for row in range(count)],
        "halContrast": ["bright"] * count,
        "halLabel": ["abcdef"[row % 6] if row % 2 else "unlabelled" for row in range(count)],
    }
    write_particles(path, new_particles(columns))
    return path


def peak_of_anonymous_memory(*command: str) -> int:
    """Bytes, from looks every 5 ms at the memory of a process that is no mapped file."""
    process = subprocess.Popen([sys.executable, "-m", "halcmd", *command])
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak = max([peak, *sizes])
        time.sleep(0.005)
    assert process.wait() == 0
    return peak


@pytest.mark.slow
def test_memory_hardly_grows_with_the_number_of_particles(tmp_path, model):
    peaks = {}
    for count in (FEW, MANY):
        table = repeated(tmp_path / f"{count}.star", count)
        text = f"score --i {table} --model {model} --o {tmp_path}/{count} --gpu cpu --j 1 -q"
        peaks[count] = peak_of_anonymous_memory(*text.split())
    assert (peaks[MANY] - peaks[FEW]) / (MANY - FEW) < BYTES_PER_PARTICLE
