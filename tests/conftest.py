import os
from pathlib import Path

import numpy as np
import pytest

# Typer forces colours where it sees a CI service; the help must be plain text of fixed width.
os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
os.environ["TERMINAL_WIDTH"] = "100"
os.environ.pop("FORCE_COLOR", None)
os.environ["NO_COLOR"] = "1"
# As the program does it: workers of pytest-xdist share the cores, and spinning threads starve them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests run side by side; several threads each would only be in one another's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data files (../shared/data) are not there")
    return SHARED


@pytest.fixture(autouse=True)
def plain_log():
    """A fresh log for each test, without --strict or --json of an earlier one."""
    from halcmd import console

    console.configure()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
