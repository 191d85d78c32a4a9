"""How many CPU threads to use."""

import os


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set (SLURM); else the cores this process may use, up to 8."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() else min(len(os.sched_getaffinity(0)), 8)
