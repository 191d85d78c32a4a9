"""How long halcmd takes to read, extend and write tables and to cut boxes, beside other programs.

python examples/benchmark_files.py [--tables] [--boxes] [--memory] [--small] [--folder DIR]

Tables: a STAR file of 10^6 rows and 25 columns, beside the Python package starfile. Boxes: 20,000
picks in 20 tomograms, beside relion_preprocess of RELION 3.1 and beside plainly copying the same
bytes. Memory: boxes from a tomogram of 4 GB. Each time is that of a whole process; what counts are
ratios within one run. Needs some 12 GB of disk in --folder; --small makes everything 20 times
smaller.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

HALCMD = [sys.executable, "-m", "halcmd"]
PIXEL_SIZE = 10.0
SHAPE_ZYX = (200, 480, 480)


@dataclass
class Cost:
    """What one command took: wall-clock seconds and the peaks of its memory in GB."""

    seconds: float
    resident: float
    anonymous: float


def main() -> None:
    """Run the parts asked for, all where none is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts: dict[str, Callable[[Path, int], None]] = {
        "tables": tables,
        "boxes": boxes,
        "memory": memory,
    }
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--small", action="store_true", help="everything 20 times smaller")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given = parser.parse_args()
    wanted = [name for name in parts if getattr(given, name)] or list(parts)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in wanted:
            print(f"\n### {name}\n", flush=True)
            parts[name](Path(folder), 20 if given.small else 1)


def tables(folder: Path, divisor: int) -> None:
    """Read 10^6 rows of 25 columns, add 12 columns, write."""
    source = folder / "particles.star"
    rows = 1_000_000 // divisor
    write_particles_table(source, rows)
    print(f"{rows:,} rows, 25 columns and 12 more, {source.stat().st_size / 1e6:.0f} MB\n")
    costs = {
        name: measure([sys.executable, "-c", code, str(source), str(folder / f"{name}.star")])
        for name, code in {"halcmd": ADD_WITH_HALCMD, "starfile": ADD_WITH_STARFILE}.items()
    }
    print("| | seconds | times halcmd | peak memory, GB |\n|---|---|---|---|")
    for name, cost in costs.items():
        ratio = cost.seconds / costs["halcmd"].seconds
        print(f"| {name} | {cost.seconds:.1f} | {ratio:.1f} | {cost.resident:.1f} |", flush=True)


ADD_WITH_HALCMD = """
import sys
from pathlib import Path
import numpy as np
from halcmd.formats.star import read_star, text_of, write_star
star = read_star(Path(sys.argv[1]))
table = star.table("particles")
count, rng = len(table), np.random.default_rng(0)
columns = {"halParticleId": [f"TS_01/{n:06d}" for n in range(count)], "halLabel": ["junk"] * count}
columns |= {f"halProbability_{n}": text_of(rng.random(count), 6) for n in range(10)}
write_star(Path(sys.argv[2]), star.with_table(table.with_columns(columns)))
"""
ADD_WITH_STARFILE = """
import sys
import numpy as np
import starfile
star = starfile.read(sys.argv[1], always_dict=True, parse_as_string=["rlnTomoName"])
table = star["particles"]
count, rng = len(table), np.random.default_rng(0)
table["halParticleId"] = [f"TS_01/{n:06d}" for n in range(count)]
table["halLabel"] = "junk"
for n in range(10):
    table[f"halProbability_{n}"] = rng.random(count)
starfile.write(star, sys.argv[2])
"""


def write_particles_table(path: Path, rows: int) -> None:
    """A table as RELION 5 writes it: 25 columns, numbers of fixed width."""
    names = ["rlnTomoName", "rlnTomoParticleName", "rlnImageName", "rlnTomoVisibleFrames"]
    numbers = [f"rlnNumber{n}" for n in range(21)]
    rng = np.random.default_rng(1)
    with path.open("w") as file:
        file.write("\n# version 50001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\n\n")
        file.write("# version 50001\n\ndata_particles\n\nloop_\n")
        file.writelines(f"_{name} #{n}\n" for n, name in enumerate(names + numbers, 1))
        for row in range(rows):
            values = "".join(f"{value:13.6f}" for value in rng.random(21) * 1000)
            file.write(
                f"TS_01 TS_01/{row} Extract/job009/Subtomograms/TS_01/{row}_stack2d.mrcs "
                f"[1,1,1,1,1,1,1,1,1,1]{values} \n"
            )


def boxes(folder: Path, divisor: int) -> None:
    """20,000 picks in 20 tomograms, through halcmd, RELION and a plain copy, in turns."""
    count, picks, repeats = (20, 1000, 3) if divisor == 1 else (2, 200, 1)
    project(folder, count, picks)
    megabytes = count * np.prod(SHAPE_ZYX) * 4 / 1e6
    print(f"{count} tomograms, {megabytes:.0f} MB; {count * picks:,} picks; best of {repeats}\n")
    for cut, box in ((32, 32), (64, 32)):
        print(f"Boxes of {cut} voxels" + (f", binned to {box}" if cut > box else "") + "\n")
        commands = {
            "halcmd, stacks": halcmd(cut, box, "stack"),
            "halcmd, single files": halcmd(cut, box, "single"),
        }
        if shutil.which("relion_preprocess"):
            commands["relion_preprocess"] = relion(cut, box)
        copied = folder / "copied"
        best: dict[str, Cost] = {}
        for _ in range(repeats):
            for name, command in commands.items():
                for made in ("Out", "Part"):
                    shutil.rmtree(folder / made, ignore_errors=True)
                cost = measure(command, folder)
                best[name] = min(best.get(name, cost), cost, key=lambda cost: cost.seconds)
            seconds = copy(sorted(folder.glob("*.mrc")), copied, count * picks * box**3 * 4)
            cost = Cost(seconds, 0.0, 0.0)
            best["plain copy"] = min(
                best.get("plain copy", cost), cost, key=lambda cost: cost.seconds
            )
        print("| | seconds | times plain copy | anonymous memory, GB |\n|---|---|---|---|")
        for name, cost in best.items():
            ratio = cost.seconds / best["plain copy"].seconds
            print(f"| {name} | {cost.seconds:.1f} | {ratio:.1f} | {cost.anonymous:.2f} |")
        print(flush=True)


def project(folder: Path, tomograms: int, picks: int) -> None:
    """Tomograms of noise, with picks as halcmd and as relion_preprocess read them."""
    rng = np.random.default_rng(2)
    (folder / "coords").mkdir()
    optics = (
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n"
        "_rlnMicrographPixelSize #4\n_rlnImagePixelSize #5\n"
        f"1 300 2.7 {PIXEL_SIZE} {PIXEL_SIZE}\n\n"
    )
    axes = "".join(f"_rlnCoordinate{axis}\n" for axis in "XYZ")
    names, rows = [], []
    for number in range(1, tomograms + 1):
        names.append(f"TS_{number:02d}.mrc")
        with mrcfile.new(folder / names[-1]) as file:
            file.set_data(rng.standard_normal(SHAPE_ZYX, dtype=np.float32))
            file.set_volume()
            file.voxel_size = PIXEL_SIZE
        places = [rng.integers(33, edge - 33, picks) for edge in SHAPE_ZYX[::-1]]
        lines = [f"{x} {y} {z}\n" for x, y, z in zip(*places, strict=True)]
        rows += [f"{names[-1]} 1 {line}" for line in lines]
        coordinates = folder / f"coords/TS_{number:02d}_picked.star"
        coordinates.write_text(f"data_\n\nloop_\n{axes}{''.join(lines)}\n")
    (folder / "micrographs.star").write_text(
        f"{optics}data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n"
        + "".join(f"{name} 1\n" for name in names)
    )
    (folder / "picks.star").write_text(
        f"{optics}data_particles\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n{axes}"
        + "".join(rows)
    )


def halcmd(cut: int, box: int, layout: str) -> list[str]:
    """The extraction with halcmd."""
    text = f"extract --i picks.star --tomograms . --o Out --box {box} --bin {cut / box:g} --j 2"
    text += f" --contrast dark --bg-radius {box * 3 // 8} --layout {layout}"
    return [*HALCMD, *text.split()]


def relion(cut: int, box: int) -> list[str]:
    """The same extraction with RELION."""
    text = "relion_preprocess --i micrographs.star --coord_dir coords/ --coord_suffix _picked.star"
    text += f" --part_dir Part/ --part_star Part/p.star --extract --extract_size {cut}"
    text += f" --norm --bg_radius {box * 3 // 8} --invert_contrast"
    return (text + (f" --scale {box}" if cut > box else "")).split()


def copy(sources: Sequence[Path], target: Path, written: int) -> float:
    """Seconds to read all these files once and to write as many bytes as the boxes have."""
    start = time.perf_counter()
    chunk = bytearray(2**24)
    with target.open("wb") as out:
        for source in sources:
            with source.open("rb") as file:
                while read := file.readinto(chunk):
                    written -= out.write(memoryview(chunk)[: min(read, written)])
        while written > 0:
            written -= out.write(memoryview(chunk)[: min(len(chunk), written)])
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def memory(folder: Path, divisor: int) -> None:
    """Peak of memory while boxes are cut out of one tomogram of 4 GB."""
    shape = (500, 1400 if divisor == 1 else 200, 1430)
    path = folder / "big" / "TS_01.mrc"
    path.parent.mkdir()
    rng = np.random.default_rng(3)
    with mrcfile.new_mmap(path, shape, mrc_mode=2) as file:
        for section in range(shape[0]):
            file.data[section] = rng.standard_normal(shape[1:], dtype=np.float32)
        file.voxel_size = PIXEL_SIZE
    places = [rng.integers(33, edge - 33, 2000) for edge in shape[::-1]]
    rows = "".join(f"{x},{y},{z}\n" for x, y, z in zip(*places, strict=True))
    (folder / "picks.csv").write_text(f"x,y,z\n{rows}")
    text = "extract --i picks.csv --tomograms big/TS_01.mrc --o Big --box 32 --bin 2 --j 2"
    cost = measure([*HALCMD, *text.split(), "--contrast", "dark"], folder)
    print(
        f"tomogram {path.stat().st_size / 1e9:.1f} GB, 2,000 boxes of 64 voxels binned to 32: "
        f"{cost.seconds:.1f} s, anonymous memory {cost.anonymous:.2f} GB, with pages of the mapped "
        f"files {cost.resident:.2f} GB"
    )


def measure(command: Sequence[str], folder: Path | None = None) -> Cost:
    """Run a command to its end and look at its memory fifty times a second."""
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    resident = anonymous = 0.0
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            found = memory_of(process.pid)
            resident = max(resident, found.get("VmHWM", 0.0))
            anonymous = max(anonymous, found.get("RssAnon", 0.0))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}\n{output.read().decode()}")
    return Cost(seconds, resident, anonymous)


def memory_of(process: int) -> dict[str, float]:
    """The lines of /proc/PID/status that are sizes, in GB; none where the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(size) / 1e6 for name, size, _ in words}


if __name__ == "__main__":
    main()
