"""How the scripts of the paper's tables run halcmd: their command line, particles, experiments.

Each script runs ``halcmd benchmark`` as a user would, in DIR/SET/Benchmark, and then writes its
table from results.jsonl. All of them add strategies to the same experiment, so that no training is
done twice and all start from the same first classifiers; a script that was stopped goes on.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from common import SETS, job_of, stop

PARTICLES, BOX, BOX_ANGST, SHAPES = 23_000, 40, 400.0, 13
LEAST_SCALE = 0.001  # of halcmd benchmark
MAP_SUFFIXES = (".mrc", ".map")
SMALL_SHAPES = 3
SMALL_SCENE = ("--per-class", "16", "--box", "16", "--angpix", "20", "--snr", "1")
SMALL_INITIAL = 0.15
SMALL_LOOP = ("--initial", f"{SMALL_INITIAL}", "--n", "4", "--rounds", "2", "--seeds", "2")
SMALL_LOOP += ("--steps", "3", "--batch-size", "8")


def arguments(about: str, sets: Sequence[str] = ("s1", "s2")) -> argparse.Namespace:
    """The command line; what is not known here is in ``rest``, for ``halcmd benchmark``."""
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0],
        epilog="Any other option is one of halcmd benchmark, such as --epochs 60.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="where to work; the same one for all tables")
    add("--sets", nargs="+", choices=SETS, default=[*sets], help="default: %(default)s")
    add("--maps", type=Path, help="folder of density maps for s1 and s2; default: built-in shapes")
    add("--i", type=Path, help="particles with boxes, for one of r1a, r1b and r2")
    add("--truth", type=Path, help="their classes; default: halLabel of the particles")
    add("--scale", type=scale, default=1.0, help="of particles and labels; 0.02 suits a laptop")
    add("--box", type=int, default=BOX, help="pixels of a simulated box, which stays 400 A wide")
    add("--seeds", type=int, default=10)
    add("--workers", type=int, default=1, help="experiments at a time")
    add("--gpu", default="auto")
    add("--table", action="store_true", help="only write the table of what is there")
    add("--small", action="store_true", help="a size for a test: no useful numbers")
    given, given.rest = parser.parse_known_args()
    if given.i and len(given.sets) != 1:
        parser.error("--i is of one data set: name it with --sets")
    return given


def scale(text: str) -> float:
    """The number of ``--scale``."""
    value = float(text)
    if not LEAST_SCALE <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be {LEAST_SCALE:g} to 1, found {text}")
    return value


def preset_of(given: argparse.Namespace, name: str) -> str:
    """The preset of ``halcmd benchmark``: that of the data set."""
    return "quick" if given.small else name


def run(
    given: argparse.Namespace, name: str, strategies: Iterable[str], initial: float | None = None
) -> None:
    """Run what is missing of an experiment, unless only the table is wanted."""
    if given.table:
        return
    options = [
        "--preset",
        preset_of(given, name),
        "--strategies",
        ",".join(strategies),
        *particles(given, name),
    ]
    options += ["--scale", f"{given.scale:g}", "--seeds", str(given.seeds)]
    options += ["--workers", str(given.workers), "--gpu", given.gpu]
    options += SMALL_LOOP if given.small else ()
    options += [] if initial is None else ["--initial", f"{initial:g}"]
    halcmd("benchmark", job_of(given.folder, name, initial), *options, *given.rest, "--resume")


def particles(given: argparse.Namespace, name: str) -> list[str]:
    """The options that name particles and truth; simulated ones are made unless they are there."""
    if SETS[name].snr is None:
        if given.i is None:
            raise SystemExit(f"{name} is real particles: --i particles.star --truth truth.star")
        return ["--i", str(given.i), *(["--truth", str(given.truth)] if given.truth else [])]
    place = given.folder / name
    out, words = place / "Simulate", scene(given, name)
    is_there = (out / "RELION_JOB_EXIT_SUCCESS").exists()
    # results too are of the scene that they began with, whether or not its boxes are still there
    if is_there or any(place.glob("Benchmark*/results.jsonl")):
        check_scene(place, words)
    if not is_there:
        place.mkdir(parents=True, exist_ok=True)
        (place / "scene.txt").write_text(shlex.join(words) + "\n")
        halcmd("simulate", out, *words, "--gpu", given.gpu, "--overwrite")
    return ["--i", str(out / "particles.star"), "--truth", str(out / "truth.star")]


def scene(given: argparse.Namespace, name: str) -> list[str]:
    """The options of ``halcmd simulate`` that decide what the particles of a data set are."""
    count = len(maps_in(given.maps)) if given.maps else SMALL_SHAPES if given.small else SHAPES
    kinds = ["--maps", str(given.maps.resolve())] if given.maps else ["--classes", str(count)]
    kinds += ["--test-fraction", "0"]  # each seed of the benchmark splits anew
    if given.small:
        return [*kinds, *SMALL_SCENE]
    each = max(round(PARTICLES * given.scale / count), 4)
    size = ["--box", str(given.box), "--angpix", f"{BOX_ANGST / given.box:g}"]
    return [*kinds, "--per-class", str(each), *size, "--snr", f"{SETS[name].snr:g}"]


def maps_in(folder: Path) -> list[Path]:
    """The density maps of a folder; ends the script where there is none."""
    maps = [path for path in folder.glob("*") if path.suffix.lower() in MAP_SUFFIXES]
    if not maps:
        stop(
            "no density maps for --maps",
            where=folder,
            found="no file that ends in .mrc or .map" if folder.is_dir() else "no such folder",
            hint="a folder of maps, or no --maps for built-in shapes",
        )
    return maps


def check_scene(place: Path, words: Sequence[str]) -> None:
    """End the script where the particles of a data set were made with other options."""
    note, now = place / "scene.txt", shlex.join(words)
    before = note.read_text().strip() if note.exists() else "no such file"
    if before != now:
        stop(
            f"the particles of {place.name} were made with other options",
            where=note,
            found=f"{before}; now {now}",
            hint=f"--maps, --box and --scale as before, another --folder, or remove {place}",
        )


def halcmd(step: str, out: Path, *options: str) -> None:
    """Run a step; an error ends the script."""
    before = work_begun(out)
    code = exit_code([sys.executable, "-m", "halcmd", step, "--o", str(out), *options])
    if code:
        goes_on = work_begun(out) != before
        stop(
            f"halcmd {step} did not get to its end",
            where=out,
            found=f"exit code {code}",
            hint="the same command again: it goes on with what is done"
            if goes_on
            else "what halcmd says above",
        )


def work_begun(job: Path) -> int | None:
    """When an experiment last got past the check of its options and files; None = never."""
    path = job / "Cells" / "input.star"
    return path.stat().st_mtime_ns if path.exists() else None


def exit_code(command: Sequence[str]) -> int:
    """Run a command; Ctrl-C reaches it too, and it is left the time to tidy up."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()
