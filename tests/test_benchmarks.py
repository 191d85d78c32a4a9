"""The scripts of examples/ that measure things run, at a small size."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples/benchmark_files.py"
PROGRAMS = {
    "tables": ["halcmd", "starfile"],
    "boxes": ["halcmd, stacks", "halcmd, single files", "plain copy"],
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PROGRAMS)
def test_the_benchmark_of_files_makes_its_tables(tmp_path, part):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small", f"--{part}", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    wanted = PROGRAMS[part] + ["relion_preprocess"] * bool(shutil.which("relion_preprocess"))
    names = {row[0].removeprefix("| ") for row in rows}
    assert set(wanted if part == "boxes" else PROGRAMS[part]) <= names
    assert list(tmp_path.iterdir()) == []
