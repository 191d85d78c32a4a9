"""What every subcommand shares, seen through a small step: exit codes, markers, log, settings."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer import Option
from typer.testing import CliRunner

from halcmd.cli.options import one_of, pair
from halcmd.cli.run import ALIASES, Run, add_job
from halcmd.console import log, planned, progress
from halcmd.errors import DataError, InputError, NothingToQuery, OptionError
from halcmd.formats import relion_job
from halcmd.formats.files import write_text
from halcmd.formats.relion_job import OUTPUTS
from halcmd.formats.star import read_star
from halcmd.particles import new_particles
from halcmd.tables import read_particles, write_particles

runner = CliRunner()


@dataclass(frozen=True)
class FakeResult:
    facts: dict[str, object] = field(default_factory=dict)

    def summary(self) -> dict[str, object]:
        return self.facts


def fake_step(
    run: Run,
    box: Annotated[int, Option("--box", "--b", help="Pixels.")],
    particles: Annotated[list[Path] | None, Option("--particles", "--i", help="Tables.")] = None,
    size: Annotated[float, Option(help="Angstrom.")] = 10.0,
    kind: Annotated[str, Option(callback=lambda v: one_of(v, ("a", "b")), help="Kind.")] = "a",
    end: Annotated[str, Option(help="How to end.")] = "well",
    test_range: Annotated[str | None, Option(help="Two numbers.")] = None,
    flag: Annotated[bool, Option(help="Switch.")] = True,
) -> FakeResult:
    """Do nothing much.

    halcmd fake-step --box 4 --o Fake/
    """
    pair(test_range, "--test-range")
    if end == "warning":
        log.warning("look out")
    if end == "input":
        raise InputError("a column is missing", where="p.star", hint="another file")
    if end == "option":
        raise OptionError("--box and --size exclude each other")
    if end == "nothing":
        raise NothingToQuery("nothing left to query")
    planned(f"would write a box of {box}")
    names = [f"{box}@{size:g}{kind}{flag:d}"]
    table = new_particles({"halParticleId": ["a/1"], "halSource": names})
    (run.folder / "Subtomograms").mkdir(exist_ok=True)
    write_text(run.folder / "Subtomograms" / "box.mrcs", "")
    with progress("working", 2) as advance:
        advance(1)
        if end == "interrupt":
            raise KeyboardInterrupt
        if end == "data":
            raise DataError("a box holds no numbers")
        if end == "bug":
            raise ZeroDivisionError
        if end == "sleep":
            write_text(run.folder / "Subtomograms" / "TS_01.mrcs", "")
            write_text(run.folder / "checkpoint.pt", "")
            write_text(run.folder / "ready", "")
            time.sleep(30)
        advance(1)
    write_particles(run.folder / "particles.star", table, model="abc")
    return FakeResult({"box": box, "read": [str(path) for path in particles or []]})


def other_step(
    run: Run,
    particles: Annotated[list[Path] | None, Option("--particles", "--i", help="Tables.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on.")] = False,
) -> FakeResult:
    """Do nothing at all."""
    return FakeResult({"resume": resume})


def normalise(word: str) -> str:
    plain = word.replace("_", "-")
    return ALIASES.get(plain, plain)


app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": normalise},
)
add_job(app, fake_step, "Data")
add_job(app, other_step, "Data")


@app.callback()
def root() -> None:
    """Steps for tests."""


def run(*words: object, code: int = 0, **environment: str):
    result = runner.invoke(app, ["fake-step", *map(str, words)], env=environment or None)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def markers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("RELION_JOB*"))


def source(folder: Path) -> str:
    return str(read_particles([folder / "particles.star"]).text("halSource")[0])


def test_a_job_that_ends_well_leaves_marker_nodes_log_settings_and_history(in_tmp, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    result = run("--box", 4, "--o", "Fake/job001/", "--seed", 7)
    job = Path("Fake/job001")
    assert markers(job) == ["RELION_JOB_EXIT_SUCCESS"]
    nodes = read_star(job / "RELION_OUTPUT_NODES.star").table("output_nodes")
    assert nodes is not None
    assert nodes.column("rlnPipeLineNodeName") == ["Fake/job001/particles.star"]
    assert nodes.column("rlnPipeLineNodeType") == ["3"]
    assert nodes.column("rlnPipeLineNodeTypeLabel") == ["ParticleGroupMetadata.star.relion"]
    assert "would write a box of 4" in (job / "run.log").read_text()
    history = read_star(job / "particles.star").table("hal_history")
    assert history is not None
    row = {label: history.column(label)[0] for label in history.labels}
    assert (row["halStep"], row["halSeed"], row["halModel"]) == ("fake-step", "7", "abc")
    assert row["halDate"] == "1970-01-01T00:00:00Z"
    assert "would write a box of 4" in result.stdout
    assert result.stderr == ""


def test_json_is_one_object_on_stdout_with_the_log_on_stderr(in_tmp):
    result = run("--box", 4, "--o", "Fake", "--json", "--end", "warning", "--i", "a", "--i", "b")
    assert json.loads(result.stdout) == {"box": 4, "read": ["a", "b"], "warnings": ["look out"]}
    assert "would write a box of 4" in result.stderr
    assert "WARNING: look out" in result.stderr


def test_without_json_warnings_alone_go_to_stderr(in_tmp):
    result = run("--box", 4, "--o", "Fake", "--end", "warning")
    assert result.stderr == "WARNING: look out\n"
    quiet = run("--box", 4, "--o", "Quiet", "--end", "warning", "-q")
    assert quiet.stdout == ""


@pytest.mark.parametrize(
    ("end", "code", "marker"),
    [
        ("input", 1, "FAILURE"),
        ("data", 1, "FAILURE"),
        ("option", 2, "FAILURE"),
        ("nothing", 3, "SUCCESS"),
        ("interrupt", 130, "FAILURE"),
    ],
)
def test_each_end_has_its_code_and_marker(in_tmp, end, code, marker):
    job = Path("Fake")
    job.mkdir()  # as RELION does
    (job / "note.txt").touch()
    (job / "RELION_JOB_EXIT_SUCCESS").touch()
    (job / "RELION_JOB_EXIT_FAILURE").touch()
    result = run("--box", 4, "--o", job, "--end", end, code=code)
    assert markers(job) == [f"RELION_JOB_EXIT_{marker}"]
    assert "Traceback" not in result.stdout + result.stderr
    if marker == "FAILURE":
        assert result.stderr.startswith("ERROR: ")
    else:
        assert result.stderr == ""
        assert (job / "RELION_OUTPUT_NODES.star").exists()


@pytest.mark.parametrize("end", ["input", "nothing", "interrupt"])
def test_json_is_printed_for_every_end(in_tmp, end):
    codes = {"input": 1, "nothing": 3, "interrupt": 130}
    result = run("--box", 4, "--o", "Fake", "--end", end, "--json", code=codes[end])
    facts = json.loads(result.stdout)
    assert facts["exit_code"] == codes[end]
    assert facts["error"]
    assert list(facts) == ["error", "where", "found", "hint", "exit_code", "warnings"]
    if end == "interrupt":
        assert [facts[name] for name in ("where", "found", "hint")] == [None] * 3
    assert facts["warnings"] == []


def test_an_error_says_what_where_and_what_to_do(in_tmp):
    result = run("--box", 4, "--o", "Fake", "--end", "input", code=1)
    assert result.stderr.splitlines() == [
        "ERROR: a column is missing",
        "  file   p.star",
        "  try    another file",
    ]


def test_a_bug_leaves_its_traceback_and_a_failed_job(in_tmp):
    job = Path("Fake")
    job.mkdir()
    result = run("--box", 4, "--o", job, "--end", "bug", code=1)
    assert isinstance(result.exception, ZeroDivisionError)
    assert markers(job) == ["RELION_JOB_EXIT_FAILURE"]


def test_relions_abort_file_stops_the_job(in_tmp):
    job = Path("Fake")
    job.mkdir()
    (job / "RELION_JOB_ABORT_NOW").touch()
    run("--box", 4, "--o", job, code=4)
    assert markers(job) == ["RELION_JOB_EXIT_ABORTED"]
    assert not (job / "particles.star").exists()


def test_sigterm_ends_the_job_with_143(in_tmp):
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); import test_run; test_run.app()"
    words = ["fake-step", "--box", "4", "--o", "Fake", "--end", "sleep", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), *words],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(400):
        if Path("Fake/ready").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    assert json.loads(out)["exit_code"] == 143
    assert "ERROR: terminated" in err
    assert markers(Path("Fake")) == ["RELION_JOB_EXIT_FAILURE"]
    # What was half made would stop the next run; the checkpoint is there to go on from.
    assert not Path("Fake/Subtomograms").exists()
    assert Path("Fake/checkpoint.pt").exists()


def test_a_failure_in_a_new_folder_leaves_no_folder(in_tmp):
    run("--box", 4, "--o", "New/job", "--end", "input", code=1)
    assert not Path("New/job").exists()


def test_a_failure_leaves_no_table_and_no_temporary_file(in_tmp):
    run("--box", 4, "--o", "Fake", "--end", "data", code=1)
    left = {path.name for path in Path("Fake").rglob("*")}
    assert "particles.star" not in left
    assert not [name for name in left if name.startswith(".")]


def test_a_dry_run_writes_nothing(in_tmp):
    result = run("--box", 4, "--o", "Fake", "--dry-run")
    assert "would write a box of 4" in result.stdout
    assert not list(in_tmp.iterdir())
    assert json.loads(run("--box", 4, "--o", "Fake", "--dry-run", "--json").stdout) == {
        "dry_run": True,
        "warnings": [],
    }
    run("--box", 4, "--o", "Fake", "--dry-run", "--end", "input", code=1)


def test_existing_output_needs_overwrite_and_stays_as_it_was(in_tmp):
    run("--box", 4, "--o", "Fake")
    before = {path: path.read_bytes() for path in Path("Fake").rglob("*") if path.is_file()}
    result = run("--box", 6, "--o", "Fake", code=1)
    assert "--overwrite" in result.stderr
    assert "particles.star" in result.stderr
    assert {p: p.read_bytes() for p in Path("Fake").rglob("*") if p.is_file()} == before
    run("--box", 6, "--o", "Fake", "--dry-run", code=1)
    run("--box", 6, "--o", "Fake", "--overwrite")
    assert source(Path("Fake")).startswith("6@")


def test_overwrite_removes_what_the_new_run_does_not_write(in_tmp):
    run("--box", 4, "--o", "Fake")
    old = time.time() - 100
    for name in ("query.csv", "Subtomograms/old.mrcs", "Tomograms/t.mrc", "notes.txt"):
        path = Path("Fake") / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (old, old))
    run("--box", 4, "--o", "Fake", "--overwrite", "--end", "data", code=1)
    assert Path("Fake/query.csv").exists()
    run("--box", 4, "--o", "Fake", "--overwrite")
    left = {str(path.relative_to("Fake")) for path in Path("Fake").rglob("*")}
    assert "notes.txt" in left
    assert "Subtomograms/box.mrcs" in left
    assert not left & {"query.csv", "Subtomograms/old.mrcs", "Tomograms"}


@pytest.mark.parametrize("name", ["particles.star", "Subtomograms/../particles.star"])
def test_an_input_in_the_output_folder_is_not_overwritten(in_tmp, name):
    run("--box", 4, "--o", "Fake")
    path = Path("Fake") / name
    result = run("--box", 4, "--o", "./Fake/", "--i", path, "--overwrite", code=1)
    assert "input stands in the output folder" in result.stderr
    assert source(Path("Fake")).startswith("4@")
    assert Path("Fake/Subtomograms/box.mrcs").exists()
    write_text(Path("Fake/mine.star"), "")
    run("--box", 4, "--o", "Fake", "--i", "Fake/mine.star", "--overwrite")


def test_every_output_counts_as_existing(in_tmp):
    Path("Fake").mkdir()
    for name in OUTPUTS:
        path = Path("Fake") / name
        path.touch()
        run("--box", 4, "--o", "Fake", code=1)
        path.unlink()
    for name in ("run.out", "job.star", "run.log", "settings.toml"):
        (Path("Fake") / name).touch()
    run("--box", 4, "--o", "Fake")


def test_resume_lets_existing_output_through(in_tmp):
    Path("A").mkdir()
    (Path("A") / "checkpoint.pt").touch()
    refused = runner.invoke(app, ["other-step", "--o", "A"])
    assert refused.exit_code == 1
    assert "--resume to go on with it" in refused.stderr
    assert runner.invoke(app, ["other-step", "--o", "A", "--resume"]).exit_code == 0
    assert (Path("A") / "checkpoint.pt").exists()


def test_resume_does_not_replace_a_finished_job(in_tmp):
    Path("A").mkdir()
    (Path("A") / "model.safetensors").write_text("a day's work")
    refused = runner.invoke(app, ["other-step", "--o", "A", "--resume"])
    assert refused.exit_code == 1
    assert "output of an earlier run, which is finished" in refused.stderr
    assert (Path("A") / "model.safetensors").read_text() == "a day's work"


def test_an_input_in_the_output_folder_is_not_replaced_by_a_resumed_run(in_tmp):
    Path("A").mkdir()
    for name in ("checkpoint.pt", "particles.star"):
        (Path("A") / name).touch()
    refused = runner.invoke(app, ["other-step", "--o", "A", "--i", "A/particles.star", "--resume"])
    assert refused.exit_code == 1
    assert "an input stands in the output folder" in refused.stderr


def test_output_nodes_that_cannot_be_written_fail_the_job_and_keep_its_results(in_tmp, monkeypatch):
    def full(folder: Path) -> None:
        raise InputError("cannot write here", where=str(folder))

    monkeypatch.setattr(relion_job, "write_output_nodes", full)
    result = run("--box", 4, "--o", "Fake", code=1)
    assert "cannot write here" in result.stderr
    assert markers(Path("Fake")) == ["RELION_JOB_EXIT_FAILURE"]
    assert source(Path("Fake")).startswith("4@")
    run("--box", 4, "--o", "Nothing", "--end", "nothing", code=1)
    Path("Relion").mkdir()
    run("--box", 4, "--o", "Relion", "--end", "nothing", code=1)
    assert markers(Path("Relion")) == ["RELION_JOB_EXIT_FAILURE"]


def test_strict_makes_a_warning_an_error(in_tmp):
    result = run("--box", 4, "--o", "Fake", "--end", "warning", "--strict", code=1)
    assert "ERROR: look out" in result.stderr
    assert not Path("Fake").exists()


def test_an_unwritable_output_is_an_error(in_tmp):
    Path("file").touch()
    result = run("--box", 4, "--o", "file/job", code=1)
    assert "cannot write here" in result.stderr


# Settings


def test_precedence_is_default_config_environment_command_line(in_tmp):
    Path("c.toml").write_text('[fake-step]\nbox = 4\nsize = 2.0\nkind = "b"\nflag = false\n')
    run("--o", "A", "--config", "c.toml")
    assert source(Path("A")) == "4@2b0"
    run("--o", "B", "--config", "c.toml", HALCMD_FAKE_STEP_SIZE="3")
    assert source(Path("B")) == "4@3b0"
    run("--o", "C", "--config", "c.toml", "--size", "5", "--flag", HALCMD_FAKE_STEP_SIZE="3")
    assert source(Path("C")) == "4@5b1"
    run("--o", "D", "--box", "4", HALCMD_FAKE_STEP_SIZE="3")
    assert source(Path("D")) == "4@3a1"


@pytest.mark.parametrize("key", ["b", "test_range", "test-range"])
def test_settings_go_by_any_name_of_their_option(in_tmp, key):
    value = "4" if key == "b" else '"-1,2"'
    Path("c.toml").write_text(f"[fake_step]\nbox = 4\n{key} = {value}\n".replace("box = 4\nb", "b"))
    run("--o", "A", "--config", "c.toml")


def test_a_repeated_option_may_be_one_text_or_a_list(in_tmp):
    for value in ('["a.star", "b.star"]', '"a.star"'):
        Path("c.toml").write_text(f"[fake-step]\nbox = 4\nparticles = {value}\n")
        result = run("--o", "A", "--config", "c.toml", "--json", "--overwrite")
        assert json.loads(result.stdout)["read"] in (["a.star", "b.star"], ["a.star"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fake-step]\nbxo = 4\n", ("bxo", "did you mean box?")),
        ("[fake-stpe]\nbox = 4\n", ("fake-stpe", "did you mean fake-step?")),
        ("box = 4\n", ("box", "[fake-step]")),
        ("[fake-step]\nbox = 'four'\n", ("--box",)),
        ("[fake-step]\nconfig = 'x'\n", ("config",)),
        ("[fake-step\n", ("no TOML file",)),
    ],
)
def test_a_wrong_setting_is_a_wrong_command_line_with_a_suggestion(in_tmp, text, words):
    Path("c.toml").write_text(text)
    box = () if "four" in text else ("--box", 4)
    result = run("--o", "A", "--config", "c.toml", *box, code=2)
    plain = " ".join(result.stderr.replace("│", " ").split())
    assert all(word in plain for word in words), plain
    assert not Path("A").exists()


def test_tables_of_other_steps_are_left_alone(in_tmp):
    Path("c.toml").write_text("[fake-step]\nbox = 4\n[other_step]\nseed = 3\n")
    run("--o", "A", "--config", "c.toml")


def test_a_missing_config_is_a_wrong_command_line(in_tmp):
    assert "c.toml" in run("--o", "A", "--config", "c.toml", "--box", 4, code=2).stderr


def test_the_settings_written_repeat_the_run(in_tmp):
    words = ("--box", 6, "--size", 2.5, "--kind", "b", "--no-flag", "--seed", 5, "--i", "a b.star")
    run(*words, "--o", "A", "--threads", 1, "--end", "warning")
    settings = tomllib.loads(Path("A/settings.toml").read_text())["fake-step"]
    assert settings["box"] == 6
    assert settings["output"] == "A"
    assert settings["particles"] == ["a b.star"]
    assert not {"config", "in-mask", "pipeline-control"} & set(settings)
    result = run("--config", "A/settings.toml", "--o", "B", "--json")
    assert source(Path("B")) == source(Path("A")) == "6@2.5b0"
    assert json.loads(result.stdout)["read"] == ["a b.star"]
    again = tomllib.loads(Path("B/settings.toml").read_text())["fake-step"]
    assert again == settings | {"output": "B", "json": True}


# RELION


def test_the_command_line_of_a_relion_job_is_understood(in_tmp):
    Path("External/job001").mkdir(parents=True)
    result = run(
        *("--o", "External/job001/", "--in_movies", "m.star", "--in_mics", "c.star"),
        *("--in_parts", "p.star", "--in_3dref", "r.mrc", "--in_mask", "k.mrc", "--box", 4),
        *("--test_range", "1,2", "--j", 2, "--pipeline_control", "External/job001/", "--json"),
    )
    assert json.loads(result.stdout)["read"] == ["p.star"]
    assert markers(Path("External/job001")) == ["RELION_JOB_EXIT_SUCCESS"]
    run("--o", "B", "--in_coords", "p.star", "--box", 4)
    Path("C").mkdir()
    assert runner.invoke(app, ["other_step", "--o", "C", "--in_parts", "p.star"]).exit_code == 0


def test_markers_go_where_relion_looks_for_them(in_tmp):
    Path("Control").mkdir()
    run("--o", "A", "--box", 4, "--pipeline-control", "Control")
    assert markers(Path("Control")) == ["RELION_JOB_EXIT_SUCCESS"]
    assert markers(Path("A")) == []


@pytest.mark.parametrize(
    "words", [("--no-such", "1"), ("--kind", "c"), ("--box",), ("--test-range", "5")]
)
def test_a_wrong_command_line_fails_the_job_that_relion_waits_for(in_tmp, words):
    Path("A").mkdir()
    run("--o", "A", *(() if words == ("--box",) else ("--box", 4)), *words, code=2)
    assert markers(Path("A")) == ["RELION_JOB_EXIT_FAILURE"]
    for name in ("SUCCESS", "FAILURE"):
        (Path("A") / f"RELION_JOB_EXIT_{name}").unlink(missing_ok=True)
    run("--box", 4, "--o=A", "--overwrite")
    if words != ("--test-range", "5"):
        run("--o", "A", *words, code=2)
        assert markers(Path("A")) == ["RELION_JOB_EXIT_SUCCESS"]


def test_existing_output_fails_the_job_that_relion_waits_for(in_tmp):
    run("--box", 4, "--o", "A")
    run("--box", 4, "--o", "A", code=1)
    assert markers(Path("A")) == ["RELION_JOB_EXIT_SUCCESS"]
    (Path("A") / "RELION_JOB_EXIT_SUCCESS").unlink()  # as RELION does before it runs a job again
    run("--box", 4, "--o", "A", code=1)
    assert markers(Path("A")) == ["RELION_JOB_EXIT_FAILURE"]


def test_help_has_the_panels_and_hides_what_is_relions(in_tmp):
    text = runner.invoke(app, ["fake-step", "--help"]).stdout
    for word in (
        "--output",
        "--seed",
        "--config",
        "--overwrite",
        "--dry-run",
        "--strict",
        "--json",
    ):
        assert word in text
    for word in ("in-mask", "pipeline-control", "HALCMD", "context"):
        assert word not in text


# The real commands


def halcmd(*words: object, code: int = 0) -> dict[str, Any]:
    """What a real command prints with --json."""
    from halcmd.cli.app import app as real

    result = runner.invoke(real, [*map(str, words), "--json"])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_real_picks_go_through_extract_label_import_select_and_info(shared, in_tmp):
    folder = shared / "real" / "microtubule"
    words = ("--tomograms", folder / "13pf_MT.mrc", "--b", 16, "--contrast", "bright")
    words += ("--test_by", "region", "--test_fraction", 0.3, "--tilt-range", "-60,60")
    cut = halcmd("extract", "--i", folder / "picks.star", *words, "--o", "Extract/")
    assert cut == {
        "read": 69,
        "kept": 69,
        "dropped": 0,
        "output": "Extract/particles.star",
        "warnings": [],
    }
    labels = ("--labels", folder / "picks.star", "--label-column", "rlnGroupName")
    merged = halcmd("label_import", "--i", "Extract/particles.star", *labels, "--o", "Label")
    assert merged == {
        "matched": 69,
        "unmatched": 0,
        "ambiguous": 0,
        "conflicting": 0,
        "changed": 0,
        "misplaced": 0,
        "agreement": None,
        "labels": {"background": 47, "microtubule": 22},
        "warnings": [],
    }
    wanted = ("--class", "microtubule", "--layout", "single", "--voltage", 300, "--cs", 2.7)
    kept = halcmd("select", "--i", "Label/particles.star", *wanted, "--o", "Select", "--by-class")
    assert kept == {"read": 69, "kept": 22, "classes": {"microtubule": 22}, "warnings": []}
    history = read_star(Path("Select/particles.star")).table("hal_history")
    assert history is not None
    assert history.column("halStep") == ["extract", "label-import", "select"]
    facts = halcmd("info", "Select", "Select/relion.star", "Extract/Subtomograms/13pf_MT.mrcs")
    assert [one["type"] for one in facts] == ["job", "particles", "mrc"]  # type: ignore[index]
    assert halcmd("info")["version"]


def test_real_commands_repeat_from_their_settings(shared, in_tmp):
    folder = shared / "real" / "microtubule"
    words = ("--i", folder / "picks.star", "--tomograms", folder / "13pf_MT.mrc", "--box", 16)
    halcmd("extract", *words, "--lowpass", 40, "--bg-radius", 6, "--o", "A")
    halcmd("extract", "--config", "A/settings.toml", "--o", "B")
    boxes = [Path(job, "Subtomograms", "13pf_MT.mrcs").read_bytes() for job in "AB"]
    assert boxes[0][1024:] == boxes[1][1024:]


def test_real_errors_have_their_codes(shared, in_tmp):
    picks = shared / "real" / "microtubule" / "picks.star"
    missing = ("extract", "--i", picks, "--tomograms", "no.mrc", "--box", 16, "--o", "A")
    assert "no such file" in halcmd(*missing, code=1)["error"]
    odd = ("extract", "--i", picks, "--tomograms", picks.with_name("13pf_MT.mrc"), "--box", 15)
    assert "even" in halcmd(*odd, "--o", "A", code=2)["error"]
    Path("Info").mkdir()
    halcmd("info", "no.star", "--o", "Info", code=1)
    assert markers(Path("Info")) == ["RELION_JOB_EXIT_FAILURE"]
    error = halcmd("info", "no.star", code=1)
    assert "no such file" in error["error"]
    assert (error["where"], error["found"], error["exit_code"]) == ("no.star", None, 1)
    flat = halcmd("info", shared / "star" / "neg_spa_relion5.star", code=1)
    assert "no rlnCoordinateZ" in flat["error"]
    assert str(flat["where"]).endswith("neg_spa_relion5.star")
    assert "data_particles" in str(flat["found"])
    assert "picks in tomograms" in str(flat["hint"])
    assert not Path("A").exists()
