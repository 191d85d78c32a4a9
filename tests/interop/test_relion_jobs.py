"""Every subcommand as an External job that RELION 3.1.3 has run, one after the other.

What RELION 5 does otherwise (control folder, texts as node types) is tried without RELION.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from halcmd.cli.app import app
from halcmd.formats.files import TEMPORARY
from halcmd.formats.relion_job import CHECKPOINTS, OUTPUTS, RUN_LOG, SETTINGS
from halcmd.formats.star import read_star
from halcmd.particles import UNLABELLED
from halcmd.tables import read_particles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("relion_jobs"),
    pytest.mark.skipif(
        shutil.which("relion_pipeliner") is None, reason="the programs of RELION are not installed"
    ),
]

ROOT = Path(__file__).resolve().parents[2]
ABORT_NOW = "RELION_JOB_ABORT_NOW"
EXTERNAL = "99"
RUNNING, FINISHED, FAILED, ABORTED = "0", "2", "3", "4"
COORDINATES, PARTICLES = "2", "3"
NODE_LABELS = {
    COORDINATES: "MicrographCoordsGroup.star.relion",
    PARTICLES: "ParticleGroupMetadata.star.relion",
}
INPUT_OPTIONS = {"in_part": "--in_parts", "in_coords": "--in_coords"}
RELIONS_OWN = {"run.out", "run.err", "note.txt", "job.star", "RELION_OUTPUT_NODES.star"}
RELIONS_OWN |= {"job_pipeline.star", "default_pipeline.star"}
PROCESS = ("ProcessName", "ProcessType", "ProcessStatus")
ANSWERS = "relion_answers.star"


@dataclass(frozen=True)
class Case:
    """An External job as the fields of RELION's window say it.

    ``{name}`` in ``takes`` and in a value stands for the folder of the job of that name; ``makes``
    are the tables that later jobs can choose, each with its type of node.
    """

    command: str
    makes: dict[str, str]
    takes: str = ""
    into: str = "in_part"
    params: dict[str, str] = field(default_factory=dict)
    free: str = ""


TABLE = {"particles.star": PARTICLES}
QUERY = TABLE | {"query.star": PARTICLES}
CASES = {
    "simulate": Case(
        "simulate",
        makes={"picks.star": COORDINATES},
        params={"classes": "2", "per-class": "30", "tomograms": "2", "box": "28", "snr": "2"},
        free="--seed 3 --gpu cpu --no-mtf",
    ),
    "extract": Case(
        "extract",
        makes=TABLE,
        takes="{simulate}/picks.star",
        into="in_coords",
        params={"tomograms": "{simulate}/tomograms.star", "box": "16", "bin": "1.5"},
    ),
    "query-random": Case(
        "query",
        makes=QUERY,
        takes="{extract}/particles.star",
        params={"strategy": "random", "n": "24"},
    ),
    # The name of the file has "relion_" in it, where RELION adds --pipeline_control.
    "label-import": Case(
        "label-import",
        makes=TABLE,
        takes="{query-random}/particles.star",
        params={"labels": "relion_answers.star", "only": "{query-random}/query.star"},
    ),
    "pretrain": Case(
        "pretrain",
        makes=TABLE,
        takes="{extract}/particles.star",
        params={"epochs": "1", "batch_size": "16", "gpu": "cpu"},
    ),
    "train": Case(
        "train",
        makes=TABLE,
        takes="{label-import}/particles.star",
        params={"steps": "8", "batch_size": "4", "gpu": "cpu"},
    ),
    "score": Case(
        "score",
        makes=TABLE,
        takes="{train}/particles.star",
        params={"maps": "", "model": "{train}/model.safetensors", "gpu": "cpu"},
    ),
    "query-hal": Case(
        "query",
        makes=QUERY,
        takes="{score}/particles.star",
        params={"strategy": "hal", "n": "4", "max-candidates": "12", "gpu": "cpu"},
    ),
    "evaluate": Case(
        "evaluate",
        makes=TABLE,
        takes="{score}/particles.star",
        params={"truth": "{simulate}/truth.star", "bootstrap": "20"},
    ),
    "benchmark": Case(
        "benchmark",
        makes=TABLE,
        takes="{score}/particles.star",
        params={
            "truth": "{simulate}/truth.star",
            "strategies": "random",
            "seeds": "1",
            "rounds": "1",
            "steps": "2",
            "gpu": "cpu",
        },
    ),
    "select": Case(
        "select",
        makes=TABLE | {"relion.star": PARTICLES},
        takes="{score}/particles.star",
        params={"by-class": "", "layout": "single"},
    ),
}
CASES["info"] = Case("info", makes={}, takes="{score}/particles.star")
WITH_INPUT = [name for name, case in CASES.items() if case.takes]

WRAPPER = """#!/bin/sh
"{python}" -m halcmd "$@" &
echo "$! $*" >> "{project}/started.txt"
wait $!
code=$?
echo "$code $*" >> "{project}/ended.txt"
exit $code
"""


@dataclass(frozen=True)
class Pipeline:
    """What default_pipeline.star says."""

    status: dict[str, str]
    types: dict[str, str]
    nodes: dict[str, str]
    made: set[tuple[str, str]]
    used: set[tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Pipeline":
        star = read_star(path)

        def columns(block: str, *labels: str) -> list[list[str]]:
            table = star.table(f"pipeline_{block}")
            return [table.column(f"rlnPipeLine{x}") if table else [] for x in labels]

        names, types, status = columns("processes", *PROCESS)
        nodes, kinds = columns("nodes", "NodeName", "NodeType")
        return cls(
            status=dict(zip(names, status, strict=True)),
            types=dict(zip(names, types, strict=True)),
            nodes=dict(zip(nodes, kinds, strict=True)),
            made=set(zip(*columns("output_edges", "EdgeProcess", "EdgeToNode"), strict=True)),
            used=set(zip(*columns("input_edges", "EdgeFromNode", "EdgeProcess"), strict=True)),
        )


@dataclass(frozen=True)
class Job:
    """A job that RELION has run, and the pipeline when it had ended."""

    name: str
    folder: Path
    words: str
    exit_code: int
    pipeline: Pipeline


class Project:
    """A folder in which RELION runs External jobs, with halcmd on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, Job] = {}
        script = folder / "bin" / "halcmd"
        script.parent.mkdir()
        script.write_text(WRAPPER.format(python=sys.executable, project=folder))
        script.chmod(0o755)
        path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        general = "\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n"
        (folder / "default_pipeline.star").write_text(general)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.read(self.folder / "default_pipeline.star")

    def relion(self, *words: str) -> None:
        """Run relion_pipeliner, which must end well whatever becomes of the job."""
        done = subprocess.run(
            ["relion_pipeliner", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ERROR" not in done.stderr, done.stderr

    def named(self, text: str) -> str:
        """The text with the folders of the jobs in it."""
        for name, job in self.jobs.items():
            text = text.replace(f"{{{name}}}", str(job.folder))
        return text

    def add(self, case: Case, *, executable: str = "halcmd") -> Path:
        """Put a job into the pipeline; its folder, as seen from the project."""
        before = set(self.pipeline.status)
        options = {"fn_exe": f"{executable} {case.command}".strip(), "nr_threads": "1"}
        if case.takes:
            options[case.into] = self.named(case.takes)
        for number, (label, value) in enumerate(case.params.items(), start=1):
            options |= {f"param{number}_label": label, f"param{number}_value": self.named(value)}
        options["other_args"] = case.free
        text = ";".join(f"{key} == {value}" for key, value in options.items())
        self.relion("--addJob", "External", "--addJobOptions", text)
        (name,) = set(self.pipeline.status) - before
        return Path(name)

    def run(self, folder: Path) -> None:
        """Have RELION run a job of the pipeline and wait for its end."""
        words = ("--RunJobs", f"{folder}/", "--schedule", "hal", "--sec_wait_after", "1")
        self.relion(*words)

    def start(self, folder: Path) -> None:
        """Have RELION start a job, and leave it alone: as when its window is closed."""
        words = ["--RunJobs", f"{folder}/", "--schedule", "hal", "--sec_wait_after", "600"]
        pipeliner = subprocess.Popen(
            ["relion_pipeliner", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: (self.folder / folder / "note.txt").exists())
        wait_for(lambda: self.pid(folder) > 0)
        pipeliner.kill()
        pipeliner.wait()

    def pid(self, folder: Path) -> int:
        """Process of the job, 0 before it has begun."""
        lines = self.lines("started.txt", folder)
        return int(lines[-1].split()[0]) if lines else 0

    def exit_code(self, folder: Path) -> int:
        """With which the job has ended; the marker comes a moment before."""
        starts = len(self.lines("started.txt", folder))
        wait_for(lambda: len(self.lines("ended.txt", folder)) == starts)
        return int(self.lines("ended.txt", folder)[-1].split()[0])

    def words(self, folder: Path) -> str:
        """The command line of the job after ``halcmd``, as it arrived."""
        return self.lines("started.txt", folder)[-1].split(maxsplit=1)[1]

    def lines(self, name: str, folder: Path) -> list[str]:
        """What the script that stands for halcmd has noted of a job."""
        path = self.folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if f"--o {folder}/ " in f"{line} "]

    def text(self, path: Path) -> str:
        return (self.folder / path).read_text()

    def markers(self, folder: Path) -> list[str]:
        there = (self.folder / folder).glob("RELION_JOB_*")
        return sorted(path.name.removeprefix("RELION_JOB_") for path in there)

    def files(self, folder: Path) -> set[str]:
        """What halcmd has written, each file by its path in the job folder; no markers."""
        top = self.folder / folder
        paths = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
        return {path for path in paths - RELIONS_OWN if not path.startswith("RELION_JOB_")}


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Come back once it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which RELION has run every case, one after the other."""
    project = Project(tmp_path_factory.mktemp("project"))
    for name, case in CASES.items():
        absolute = str(project.folder / "bin" / "halcmd")
        folder = project.add(case, executable=absolute if name == "evaluate" else "halcmd")
        project.run(folder)
        code = project.exit_code(folder)
        words = project.words(folder)
        project.jobs[name] = Job(name, folder, words, code, project.pipeline)
        assert code == 0, project.text(folder / "run.err")
        if name == "simulate":
            shutil.copy(project.folder / folder / "truth.star", project.folder / ANSWERS)
    return project


@pytest.fixture
def job(project: Project, request: pytest.FixtureRequest) -> Job:
    """The job of the case that the test is given by name."""
    return project.jobs[request.param]


@pytest.fixture
def started(project: Project) -> Iterator[Callable[[Case], Path]]:
    """A function that has RELION start a job; it is killed after the test if it still runs."""
    folders: list[Path] = []

    def start(case: Case) -> Path:
        folder = project.add(case)
        folders.append(folder)
        project.start(folder)
        return folder

    yield start
    for folder in folders:
        if project.pid(folder) and not project.lines("ended.txt", folder):
            with suppress(ProcessLookupError):
                os.kill(project.pid(folder), signal.SIGKILL)


def each(names: list[str]) -> pytest.MarkDecorator:
    """The test for each of these jobs."""
    return pytest.mark.parametrize("job", names, indirect=True)


# All of them, one after the other


def test_every_subcommand_has_a_job_here():
    known = set(typer.main.get_command(app).commands)
    assert known == {case.command for case in CASES.values()}


@each(list(CASES))
def test_relion_shows_the_job_as_finished(project: Project, job: Job):
    name = f"{job.folder}/"
    assert job.pipeline.status[name] == FINISHED
    assert job.pipeline.types[name] == EXTERNAL
    assert project.markers(job.folder) == ["EXIT_SUCCESS"]
    assert job.exit_code == 0


@each(list(CASES))
def test_a_job_that_ends_well_has_nothing_in_its_error_file(project: Project, job: Job):
    assert project.text(job.folder / "run.err") == ""
    assert "\x1b" not in project.text(job.folder / "run.out")
    assert "\r" not in project.text(job.folder / "run.out")
    assert f"wrote {job.folder}/" in project.text(job.folder / "run.out")


@each(list(CASES))
def test_the_command_line_is_understood_in_the_order_that_relion_makes_it(
    project: Project, job: Job
):
    case = CASES[job.name]
    wanted = [case.command, "--o", f"{job.folder}/"]
    if case.takes:
        wanted += [INPUT_OPTIONS[case.into], project.named(case.takes)]
    for label, value in case.params.items():
        wanted += [f"--{label}", *([project.named(value)] if value else [])]
    wanted += ["--j", "1", *case.free.split()]
    if any("relion_" in value for value in case.params.values()):
        wanted += ["--pipeline_control", f"{job.folder}/"]
    assert job.words.split() == wanted


@each(list(CASES))
def test_what_later_jobs_can_choose_is_registered_with_its_type(job: Job):
    made = {node for process, node in job.pipeline.made if process == f"{job.folder}/"}
    types = {Path(node).name: job.pipeline.nodes[node] for node in made}
    assert types == CASES[job.name].makes
    assert all(Path(node).parent == job.folder for node in made)


@each(WITH_INPUT)
def test_a_job_takes_what_an_earlier_one_has_registered(project: Project, job: Job):
    node = project.named(CASES[job.name].takes)
    assert (node, f"{job.folder}/") in job.pipeline.used
    maker = next(other for other in project.jobs.values() if other.folder == Path(node).parent)
    assert (f"{maker.folder}/", node) in maker.pipeline.made
    count = len(read_particles([project.folder / node]))
    said = f"particles          {count}\n" if job.name == "info" else f"read {count} "
    assert said in project.text(job.folder / "run.out")


@each(list(CASES))
def test_a_job_leaves_the_files_it_is_known_for_and_no_unfinished_one(project: Project, job: Job):
    files = project.files(job.folder)
    assert {Path(name).parts[0] for name in files} <= {*OUTPUTS, RUN_LOG, SETTINGS}
    assert not [name for name in files if Path(name).name.startswith(".")]
    assert not {*CHECKPOINTS} & files
    assert {*CASES[job.name].makes, RUN_LOG, SETTINGS} <= files


@each(list(CASES))
def test_nodes_have_the_number_of_relion_3_and_the_text_of_relion_5(project: Project, job: Job):
    path = project.folder / job.folder / "RELION_OUTPUT_NODES.star"
    assert_nodes(path, job.folder, CASES[job.name].makes)


def assert_nodes(path: Path, folder: Path, makes: dict[str, str]) -> None:
    star = read_star(path)
    table = star.table("output_nodes")
    assert table is not None
    labels = ("Name", "Type", "TypeLabel")
    columns = [table.column(f"rlnPipeLineNode{label}") for label in labels]
    wanted = [(f"{folder}/{name}", kind, NODE_LABELS[kind]) for name, kind in makes.items()]
    assert sorted(zip(*columns, strict=True)) == sorted(wanted)
    assert b"\r" not in path.read_bytes()


def test_labels_imported_in_one_job_have_reached_the_last(project: Project):
    labelled = read_particles([project.folder / project.named("{label-import}/particles.star")])
    selected = read_particles([project.folder / project.named("{select}/particles.star")])
    known = dict(zip(labelled.ids, labelled.labels, strict=True))
    assert sum(label != UNLABELLED for label in known.values()) == 24
    assert [known[name] for name in selected.ids] == list(selected.labels)
    history = selected.star.table("hal_history")
    assert history is not None
    wanted = ["simulate", "extract", "query", "label-import", "train", "score", "select"]
    assert history.column("halStep") == wanted


# Jobs that end otherwise

BAD = {
    "train": Case("train", {}, takes="{extract}/particles.star", params={"steps": "2"}),
    "evaluate": Case("evaluate", {}, takes="{label-import}/particles.star"),
    "query": Case("query", {}, takes="{extract}/particles.star", params={"strategy": "margin"}),
    "score": Case(
        "score", {}, takes="{extract}/particles.star", params={"model": "{train}/training.star"}
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_job_with_an_input_it_cannot_use_is_shown_as_failed(project: Project, name: str):
    folder = project.add(BAD[name])
    project.run(folder)
    assert project.exit_code(folder) == 1
    assert project.markers(folder) == ["EXIT_FAILURE"]
    pipeline = project.pipeline
    assert pipeline.status[f"{folder}/"] == FAILED
    assert not [node for process, node in pipeline.made if process == f"{folder}/"]
    assert project.text(folder / "run.err").startswith("ERROR: ")
    assert project.files(folder) <= {RUN_LOG, SETTINGS}


@pytest.mark.parametrize("command", ["scroe", ""], ids=["misspelt", "none"])
def test_relion_does_not_wait_for_a_command_that_is_no_job(project: Project, command: str):
    folder = project.add(Case(command, {}, takes="{extract}/particles.star"))
    project.start(folder)
    code = project.exit_code(folder)
    project.relion("--check_job_completion")
    status = project.pipeline.status[f"{folder}/"]
    assert status != RUNNING, f"it ended with {code} and left no marker: RELION waits for ever"
    assert status == (FINISHED if code == 0 else FAILED)
    assert len(project.markers(folder)) == 1


def test_a_failed_job_that_is_run_again_ends_well_and_forgets_the_failure(project: Project):
    params = {"labels": "late.star", "only": "{query-random}/query.star"}
    case = Case("label-import", TABLE, takes="{query-random}/particles.star", params=params)
    folder = project.add(case)
    project.run(folder)
    assert project.markers(folder) == ["EXIT_FAILURE"]
    shutil.copy(project.folder / ANSWERS, project.folder / "late.star")
    project.run(folder)
    assert project.exit_code(folder) == 0, project.text(folder / "run.err")
    assert project.markers(folder) == ["EXIT_SUCCESS"]
    assert project.pipeline.status[f"{folder}/"] == FINISHED
    assert (f"{folder}/", f"{folder}/particles.star") in project.pipeline.made


@pytest.mark.parametrize("overwrite", [False, True], ids=["as_it_is", "overwrite"])
def test_a_finished_job_is_run_again_with_overwrite_only(project: Project, overwrite: bool):
    params = {"strategy": "random", "n": "5"} | ({"overwrite": ""} if overwrite else {})
    folder = project.add(Case("query", QUERY, takes="{extract}/particles.star", params=params))
    project.run(folder)
    before = project.text(folder / "query.csv")
    project.run(folder)
    assert project.exit_code(folder) == (0 if overwrite else 1)
    assert project.markers(folder) == ["EXIT_SUCCESS" if overwrite else "EXIT_FAILURE"]
    assert project.pipeline.status[f"{folder}/"] == (FINISHED if overwrite else FAILED)
    assert project.text(folder / "query.csv") == before
    assert ("--overwrite" in project.text(folder / "run.err")) != overwrite


def test_nothing_left_to_query_is_a_job_that_ends_well(project: Project):
    params = {"strategy": "random", "exclude": "{extract}/particles.star"}
    folder = project.add(Case("query", {}, takes="{label-import}/particles.star", params=params))
    project.run(folder)
    assert project.exit_code(folder) == 3
    assert project.markers(folder) == ["EXIT_SUCCESS"]
    assert project.pipeline.status[f"{folder}/"] == FINISHED
    assert not [node for process, node in project.pipeline.made if process == f"{folder}/"]
    assert project.text(folder / "run.err") == ""


LONG = {
    "train": Case(
        "train",
        {},
        takes="{label-import}/particles.star",
        params={"steps": "50000", "patience": "0", "batch-size": "4", "gpu": "cpu"},
    ),
    "simulate": Case(
        "simulate",
        {},
        params={"classes": "2", "per-class": "3000", "box": "28", "gpu": "cpu"},
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_abort_stops_a_job_at_work_and_relion_shows_it_as_aborted(
    project: Project, started: Callable[[Case], Path], name: str
):
    folder = started(LONG[name])
    at_work = f"Subtomograms/{TEMPORARY}*" if name == "simulate" else "checkpoint*.pt"
    wait_for(lambda: bool([*(project.folder / folder).glob(at_work)]))
    assert project.markers(folder) == []
    project.relion("--check_job_completion")
    assert project.pipeline.status[f"{folder}/"] == RUNNING
    (project.folder / folder / ABORT_NOW).touch()
    asked = time.monotonic()
    assert project.exit_code(folder) == 4
    assert time.monotonic() - asked < 20
    assert project.markers(folder) == ["EXIT_ABORTED"]
    project.relion("--check_job_completion")
    assert project.pipeline.status[f"{folder}/"] == ABORTED
    assert not [node for process, node in project.pipeline.made if process == f"{folder}/"]
    assert project.files(folder) - {*CHECKPOINTS} == {RUN_LOG, SETTINGS}
    assert "stopped by RELION's abort file" in project.text(folder / "run.err")


# What RELION's command line leaves in the folder, without RELION


@pytest.fixture
def in_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with its folder as the working directory."""
    monkeypatch.chdir(project.folder)
    return project


def line_of_relion_5(project: Project, name: str, folder: Path, control: str) -> list[str]:
    """The words after ``halcmd``: every input that RELION knows, then as RELION orders them."""
    case = CASES[name]
    words = [case.command, "--o", f"{folder}/", "--in_movies", "movies.star"]
    words += ["--in_mics", "micrographs.star"]
    if case.takes:
        words += [INPUT_OPTIONS[case.into], project.named(case.takes)]
    words += ["--in_3dref", "reference.mrc", "--in_mask", "mask.mrc"]
    for label, value in case.params.items():
        words += [f"--{label}", *([project.named(value)] if value else [])]
    return [*words, "--j", "1", *case.free.split(), control, f"{folder}/"]


@pytest.mark.parametrize("control", ["--pipeline_control", "--pipeline-control"])
@pytest.mark.parametrize("name", CASES)
def test_a_job_of_relion_5_is_told_where_its_markers_go(in_project, name, control):
    folder = Path("Control") / f"{name}{control}"
    folder.mkdir(parents=True)
    for marker in ("SUCCESS", "FAILURE", "ABORTED"):
        (folder / f"RELION_JOB_EXIT_{marker}").touch()
    words = line_of_relion_5(in_project, name, folder, control)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert in_project.markers(folder) == ["EXIT_SUCCESS"]
    assert set(CASES[name].makes) <= in_project.files(folder)
    table = read_star(folder / "RELION_OUTPUT_NODES.star").table("output_nodes")
    assert table is not None
    for node in table.column("rlnPipeLineNodeName"):
        assert Path(node).exists()


def again(*words: str) -> int:
    return CliRunner().invoke(app, list(words)).exit_code


def test_a_job_that_was_aborted_can_be_run_again_into_its_folder(in_project):
    folder = Path("Again")
    folder.mkdir()
    words = ["simulate", "--classes", "2", "--per-class", "3", "--box", "28", "--o", "Again/"]
    (folder / ABORT_NOW).touch()
    assert again(*words) == 4
    assert in_project.markers(folder) == ["EXIT_ABORTED"]
    assert again(*words) == 0
    assert in_project.markers(folder) == ["EXIT_SUCCESS"]


def test_an_abort_that_came_too_late_does_not_stop_the_next_run(in_project):
    folder = Path("Late")
    folder.mkdir()
    line = in_project.named("evaluate --i {score}/particles.star --truth {simulate}/truth.star")
    (folder / ABORT_NOW).touch()  # evaluate shows no progress, and so does not look for it
    again(*line.split(), "--bootstrap", "0", "--o", "Late/")
    assert not (folder / ABORT_NOW).exists()
