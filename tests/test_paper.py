"""examples/paper: the tables of Du et al. 2021, from results made by hand and from small runs."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from halcmd.benchmarking.protocols import PROTOCOLS
from halcmd.formats.star import read_star

PAPER = Path(__file__).resolve().parents[1] / "examples/paper"
SCRIPTS = sorted(path.stem for path in PAPER.glob("*[0-9].py"))
SEEDS = range(10)
NOISE = np.linspace(-0.02, 0.02, 10)
PNG = b"\x89PNG\r\n\x1a\n"
# Mean final accuracy of each strategy; seeds differ from it by the same noise, some by their own.
ENDS = {
    "random": 0.80,
    "hal": 0.90,
    "entropy": 0.90,
    "bgal": 0.88,
    "hal:discriminator=mlp": 0.90,
    "hal:subsets=1": 0.85,
    "hal:subsets=2": 0.86,
    "hal:lambda=0": 0.70,
    "hal:lambda=10": 0.90,
}
OWN_NOISE = {"entropy", "hal:discriminator=mlp", "hal:lambda=10"}


def test_there_is_a_script_for_each_table_and_figure() -> None:
    assert SCRIPTS == ["figure5", "table1", "table2", "table3", "table4", "table5"]


def line(strategy: str, seed: int, number: int, labels: int, value: float) -> dict[str, Any]:
    measures = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "ece"), value)
    return {
        **{"strategy": strategy, "seed": seed, "round": number, "labels": labels},
        **measures,
        **{"recall": {"a": value, "b": value}, "asked": {"a": 1}},
        **{"seconds": {"train": 1.0, "query": None if number > 1 else 2.5}, "experiment": "x"},
    }


def made_by_hand(job: Path, start: int = 54, *, left_out: Collection[str] = ()) -> None:
    """Two rounds of 32 labels in a pool of 1,800, ten seeds.

    ``left_out`` names strategies; ``"random 9"`` is the last round of random in seed 9.
    """
    own = np.random.default_rng(0).normal(0, 0.03, (len(ENDS), 10))
    lines = []
    for seed in SEEDS:
        lines.append(line("start", seed, 0, start, 0.5 + NOISE[seed]))
        lines.append(line("full", seed, 0, 1800, 0.95 + NOISE[seed]))
        for place, (name, end) in enumerate(ENDS.items()):
            value = end + NOISE[seed] + own[place, seed] * (name in OWN_NOISE)
            lines.append(line(name, seed, 1, start + 32, value - 0.1))
            lines.append(line(name, seed, 2, start + 64, value))
            if f"{name} {seed}" in left_out:
                del lines[-1]
    lines = [each for each in lines if each["strategy"] not in left_out]
    job.mkdir(parents=True)
    (job / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))


def of_no_table(job: Path) -> None:
    """A strategy that no table wants, beside full supervision."""
    made_by_hand(job, left_out=[name for name in ENDS if name != "random"])
    path = job / "results.jsonl"
    path.write_text(path.read_text().replace('"random"', '"typiclust"'))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of r1a and r1b, a few of other data sets, and all tables of them."""
    folder = tmp_path_factory.mktemp("paper")
    made_by_hand(folder / "r1a/Benchmark")
    made_by_hand(folder / "r1b/Benchmark", left_out=["random 9"])
    made_by_hand(folder / "r1a/Benchmark_initial_0.01", start=18)
    made_by_hand(folder / "r1a/Benchmark_initial_0.02", start=36, left_out=["full"])
    made_by_hand(folder / "s1/Benchmark", left_out=ENDS)  # start and full alone
    made_by_hand(folder / "s2/Benchmark", left_out=["start", *ENDS])
    of_no_table(folder / "r2/Benchmark")
    for script in SCRIPTS:
        said = run(script, folder, "--table")
        assert said.splitlines()[0] == str(folder / f"{script}.md")
        assert (folder / f"{script}.png").read_bytes().startswith(PNG)
    return folder


Done = subprocess.CompletedProcess[str]


def ran(script: str, folder: Path, *options: str, cwd: Path | None = None) -> Done:
    command = [sys.executable, str(PAPER / f"{script}.py"), "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def run(script: str, folder: Path, *options: str) -> str:
    done = ran(script, folder, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(script: str, folder: Path, *options: str, cwd: Path | None = None) -> str:
    """What it says where it ends with an error."""
    done = ran(script, folder, *options, cwd=cwd)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def rows(folder: Path, table: str) -> dict[tuple[str, str], dict[str, str]]:
    """Rows of a table's STAR file by data set and method."""
    star = read_star(folder / f"{table}.star").table(table)
    assert star is not None
    columns = [star.column(label) for label in star.labels]
    found = [dict(zip(star.labels, values, strict=True)) for values in zip(*columns, strict=True)]
    return {(row["halDataSet"], row["halMethod"]): row for row in found}


def test_table_1_has_every_method_that_is_there_beside_the_papers_number(tables: Path) -> None:
    found = rows(tables, "table1")
    methods = ["random", "hal", "entropy", "bgal", "all labels"]
    assert [*found] == [(name, method) for name in ("r1a", "r1b") for method in methods]
    bgal = found["r1a", "bgal"]
    assert (bgal["halAccuracy"], bgal["halPaperAccuracy"]) == ("0.8800", "0.8218")
    assert (bgal["halLabels"], bgal["halSeeds"]) == ("118", "10")
    assert float(bgal["halDifference"]) == pytest.approx(-0.02)
    assert bgal["halInWords"] == "worse"
    assert found["r1a", "all labels"]["halPaperAccuracy"] == "0.8724"
    assert found["r1b", "all labels"]["halPaperAccuracy"] == "nan"
    assert found["r1a", "hal"]["halInWords"] == "none"
    page = (tables / "table1.md").read_text()
    cell = f"88.0 ± {100 * np.std(NOISE, ddof=1):.1f} (10)"
    assert f"| bgal | {cell} | {cell} | 3.0 |" in page  # as the paper has it
    assert "| 82.18 | -2.0 (-2.0 to -2.0) | worse |" in page


def test_table_1_ranks_methods_over_data_sets(tables: Path) -> None:
    found = rows(tables, "table1")
    ranks = {name: found["r1a", name]["halMeanRank"] for name in ("bgal", "random", "all labels")}
    assert ranks == {"bgal": "3", "random": "4", "all labels": "nan"}
    assert {found["r1b", name]["halMeanRank"] for name in ("hal", "entropy")} == {"1", "2"}
    p = stats.friedmanchisquare([1, 1], [2, 2], [3, 3], [4, 4]).pvalue
    page = (tables / "table1.md").read_text()
    assert f"Friedman's test: p = {p:.2g}" in page
    assert "more than 3.3 apart (Nemenyi)" in page  # Demsar 2006: 2.569 sqrt(4 * 5 / (6 * 2))


def test_differences_are_wilcoxons_with_holms_correction(tables: Path) -> None:
    found = rows(tables, "table1")
    text = (tables / "r1a/Benchmark/results.jsonl").read_text()
    lines = [json.loads(each) for each in text.splitlines()]
    ends = {
        name: np.array([e["accuracy"] for e in lines if (e["strategy"], e["round"]) == (name, 2)])
        for name in ("random", "hal", "entropy", "bgal")
    }
    p = stats.wilcoxon(ends["entropy"] - ends["hal"]).pvalue  # the largest of three: as it is
    entropy = found["r1a", "entropy"]
    assert float(entropy["halPHolm"]) == pytest.approx(p, abs=1e-5)
    assert entropy["halInWords"] == "no significant difference"
    assert float(found["r1a", "bgal"]["halPHolm"]) == pytest.approx(3 * 2 / 2**10, abs=1e-5)


def test_table_2_has_sizes_and_seconds(tables: Path) -> None:
    found = rows(tables, "table2")
    assert [method for name, method in found if name == "r1a"] == ["1", "2", "4", "all labels"]
    assert [method for name, method in found if name == "r1b"] == ["1", "2", "8", "all labels"]
    one = found["r1b", "1"]
    assert (one["halSubsetSize"], one["halQuerySeconds"]) == ("32", "2.5")
    assert one["halPaperAccuracy"] == "0.6350"
    assert float(one["halDifference"]) == pytest.approx(-0.05)
    assert found["r1b", "8"]["halPaperAccuracy"] == "0.7480"


def test_table_3_names_the_parts_left_out(tables: Path) -> None:
    found = rows(tables, "table3")
    methods = [method for name, method in found if name == "r1b"]
    assert methods == ["HAL", "V1", "V2", "V3", "entropy", "all labels"]
    words = [found["r1b", method]["halInWords"] for method in ("V1", "V2", "V3")]
    assert words == ["no significant difference", "worse", "worse"]


def test_table_4_compares_shares_and_gives_the_papers_number_to_its_own(tables: Path) -> None:
    found = rows(tables, "table4")
    assert [*found][:3] == [("r1a", "1 %"), ("r1a", "3 %"), ("r1a", "all labels")]
    few, usual = found["r1a", "1 %"], found["r1a", "3 %"]
    assert (few["halInitialShare"], few["halLabels"], few["halPaperAccuracy"]) == (
        "0.01",
        "82",
        "nan",
    )
    assert (usual["halLabels"], usual["halPaperAccuracy"]) == ("118", "0.8548")
    assert ("r1b", "4 %") in found


def test_table_5_reaches_from_the_discriminator_alone_to_entropy_alone(tables: Path) -> None:
    found = rows(tables, "table5")
    methods = [method for name, method in found if name == "r1a"]
    assert methods == ["0", "1", "10", "infinite", "all labels"]
    assert float(found["r1a", "0"]["halDifference"]) == pytest.approx(-0.2)
    assert found["r1a", "infinite"]["halLambda"] == "inf"


def test_figure_5_has_each_point(tables: Path) -> None:
    star = read_star(tables / "figure5.star").table("figure5")
    assert star is not None
    assert len(star) == 2 * (4 * 3 + 1)
    names = [star.column(label) for label in ("halDataSet", "halMethod", "halLabels")]
    at = dict(zip(zip(*names, strict=True), star.column("halAccuracy"), strict=True))
    hal = [at["r1a", "hal", labels] for labels in ("54", "86", "118")]
    assert hal == ["0.5000", "0.8000", "0.9000"]
    assert at["r1a", "all labels", "1800"] == "0.9500"
    whole = 0.5 + NOISE[:9].mean()  # the seed that lacks its end counts nowhere on the curve
    assert at["r1b", "random", "54"] == f"{whole:.4f}"
    assert f"| random | {100 * whole:.1f} |" in (tables / "figure5.md").read_text()
    page = (tables / "figure5.md").read_text()
    assert "| hal | 50.0 | 80.0 | 90.0 |" in page
    assert "All labels: 95.0. Du et al. at the end: full 87.24, hal 85.48, bgal 82.18." in page


def test_nothing_is_run_where_only_the_table_is_wanted(tables: Path, tmp_path: Path) -> None:
    names = {"Benchmark", "Benchmark_initial_0.01", "Benchmark_initial_0.02"}
    assert {path.name for path in (tables / "r1a").iterdir()} == names
    assert "no results yet" in refused("table1", tmp_path, "--table")
    assert [*tmp_path.iterdir()] == []


def test_data_sets_without_anything_of_a_table_are_left_out(tables: Path) -> None:
    for script in SCRIPTS:
        assert {name for name, _ in rows(tables, script)} == {"r1a", "r1b"}


@pytest.mark.parametrize("script", ["table2", "figure5"])
def test_first_trainings_alone_make_no_table(tmp_path: Path, script: str) -> None:
    made_by_hand(tmp_path / "s1/Benchmark", left_out=ENDS)
    assert "no results yet" in refused(script, tmp_path, "--table")


def test_real_particles_must_be_given(tmp_path: Path) -> None:
    assert "--i particles.star" in refused("table3", tmp_path, "--sets", "r2")


def test_a_missing_file_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    said = refused("table3", tmp_path, "--sets", "r2", "--i", str(tmp_path / "no.star"))
    assert "halcmd benchmark did not get to its end" in said
    assert "the same command again" not in said


@pytest.mark.parametrize("scale", ["0", "1.5"])
def test_scale_is_a_share(tmp_path: Path, scale: str) -> None:
    said = refused("table3", tmp_path, "--scale", scale)
    assert f"--scale: must be 0.001 to 1, found {scale}" in said
    assert [*tmp_path.iterdir()] == []


def test_maps_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, found in (("empty", "no file that ends in .mrc or .map"), ("typo", "no such folder")):
        said = refused("table3", tmp_path / "Paper", "--maps", str(tmp_path / name))
        assert (found in said, str(tmp_path / name) in said) == (True, True)
    assert not (tmp_path / "Paper").exists()


STAND_IN = """
import pathlib, sys
step, out = sys.argv[1], pathlib.Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
with pathlib.Path("called.txt").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + chr(10))
if step == "simulate":
    (out / "RELION_JOB_EXIT_SUCCESS").touch()
    sys.exit()
(out / "Cells").mkdir(exist_ok=True)
(out / "Cells" / "input.star").write_text("x")
sys.exit(1)
"""
"""A halcmd whose simulations are done at once and whose benchmarks begin and fail."""


def test_particles_are_of_the_scene_that_is_asked_for(tmp_path: Path) -> None:
    for name in ("halcmd/__main__.py", "maps/a.map", "maps/b.MRC", "maps/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(STAND_IN)
    (tmp_path / "halcmd/__init__.py").touch()
    called, folder = tmp_path / "called.txt", tmp_path / "Paper"
    options = ["--sets", "s1", "--scale", "0.01", "--maps", "maps"]
    for _ in range(2):
        assert "the same command again" in refused("table3", folder, *options, cwd=tmp_path)
    calls = called.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["simulate", "benchmark", "benchmark"]
    wanted = f"--maps {tmp_path / 'maps'} --test-fraction 0 --per-class 115 --box 40 --angpix 10"
    assert f"{wanted} --snr 0.03" in calls[0]
    for other in (["--box", "24"], ["--scale", "0.02"]):
        said = refused("table3", folder, *options, *other, cwd=tmp_path)
        assert "the particles of s1 were made with other options" in said
        assert f"another --folder, or remove {folder / 's1'}" in said
    (folder / "s1/scene.txt").unlink()
    assert "no such file" in refused("table3", folder, *options, cwd=tmp_path)
    assert called.read_text().splitlines() == calls


def strategies_of(module: str) -> set[str]:
    text = f"import {module} as m; print(*(e.strategy for e in m.ENTRIES))"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=PAPER, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.slow
def test_scripts_run_the_benchmark_and_none_does_a_training_twice(tmp_path: Path) -> None:
    options = ["--small", "--sets", "s1", "--gpu", "cpu", "--workers", "2"]
    run("table3", tmp_path, *options)
    results = tmp_path / "s1/Benchmark/results.jsonl"
    first = results.read_text().splitlines()
    names = strategies_of("table3") | {"random"}
    expected = {(name, seed, number) for name in names for seed in (0, 1) for number in (1, 2)}
    expected |= {(name, seed, 0) for name in ("start", "full") for seed in (0, 1)}
    keys = [(e["strategy"], e["seed"], e["round"]) for e in map(json.loads, first)]
    assert sorted(keys) == sorted(expected)
    run("table2", tmp_path, *options)  # m = 1 is V2 of Table 3, m = 2 is HAL: only m of 4 is new
    second = results.read_text().splitlines()
    assert set(first) <= set(second)  # with the same seconds: they are the same trainings
    run("figure5", tmp_path, *options, "--table")
    found = rows(tmp_path, "table2")
    for method, strategy in (("1", "hal:subsets=1"), ("2", "hal")):
        ends = [
            e["accuracy"]
            for e in map(json.loads, second)
            if (e["strategy"], e["round"]) == (strategy, 2)
        ]
        assert float(found["s1", method]["halAccuracy"]) == pytest.approx(np.mean(ends), abs=1e-4)
    assert PROTOCOLS["quick"].subsets == 2
