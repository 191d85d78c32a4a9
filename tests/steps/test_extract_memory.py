"""extract leaves a large tomogram on the disk: its memory does not grow with it."""

import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np

SHAPE_ZYX = (500, 1400, 1430)
GIGABYTE = 1e9


def sparse_tomogram(path: Path, places: np.ndarray) -> None:
    """A tomogram of 4 GB with noise around the picks; the rest takes no disk."""
    rng = np.random.default_rng(1)
    with mrcfile.new_mmap(path, SHAPE_ZYX, mrc_mode=2) as file:
        for x, y, z in places:
            file.data[z - 32 : z + 32, y - 32 : y + 32, x - 32 : x + 32] = rng.normal(
                size=(64, 64, 64)
            )
        file.voxel_size = 10.0
    assert path.stat().st_size > 4e9


def anonymous_bytes(process: int) -> int:
    """RssAnon of a process: memory that is its own, without pages of mapped files."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
    return sizes[0] if sizes else 0


def test_boxes_of_a_tomogram_of_4_gb_take_less_than_1_gb_of_memory(in_tmp):
    rng = np.random.default_rng(2)
    places = np.stack([rng.integers(40, edge - 40, 150) for edge in SHAPE_ZYX[::-1]], axis=1)
    sparse_tomogram(Path("TS_01.mrc"), places)
    rows = "".join(f"{x},{y},{z}\n" for x, y, z in places)
    Path("picks.csv").write_text(f"x,y,z\n{rows}")
    text = "extract --i picks.csv --tomograms TS_01.mrc --o Out --box 32 --bin 2 --j 2 -q"
    process = subprocess.Popen([sys.executable, "-m", "halcmd", *text.split()])
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.005)
    assert process.returncode == 0
    assert Path("Out/Subtomograms/TS_01.mrcs").stat().st_size == 1024 + 150 * 32**3 * 4
    assert 0 < peak < GIGABYTE
