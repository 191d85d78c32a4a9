"""The documentation says what the program does: pages are current, commands parse, examples run."""

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from halcmd.cli.app import app, normalise
from halcmd.columns import COLUMNS, PATTERNS
from halcmd.formats.relion_job import OUTPUTS
from halcmd.importers import IMPORTERS
from halcmd.networks import NETWORKS
from halcmd.strategies import STRATEGIES
from halcmd.strategies.options import described
from halcmd.tables import read_particles

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
COMMANDS = get_command(app).commands
OTHER_PROGRAMS = {".", "[", "apt-get", "bash", "cd", "echo", "git", "pip", "pytest", "python3"}
OTHER_PROGRAMS |= {"python", "do", "done", "while", "which", "sbatch"}
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SEPARATORS = {"&&", "||", "|", ";", "do", "done"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in _FENCE.findall(path.read_text()) if kind == language]


def commands_in(script: str) -> list[list[str]]:
    """The commands of a shell script as words."""
    found: list[list[str]] = [[]]
    joined = re.sub(r"(\\|&&)\n", r"\1 ", script).replace("\\ ", " ")
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split = True
        for word in lexer:
            found.append([]) if word in _SEPARATORS else found[-1].append(word)
        found.append([])
    return [[w for w in words if not re.match(r"^[A-Z_]+=", w)] for words in found if words]


def parse(words: list[str]) -> None:
    """Parse one halcmd command line without running it."""
    root = typer.Context(get_command(app), info_name="halcmd")
    root.token_normalize_func = normalise
    name, arguments = words[1], words[2:]
    if name.startswith("-"):
        known = {option for parameter in root.command.params for option in parameter.opts}
        assert name in known | {"--help", "-h"}
        return
    COMMANDS[normalise(name)].make_context(name, arguments, parent=root)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current() -> None:
    script = [sys.executable, str(DOCS / "reference.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_column_and_output_is_documented(reference: ModuleType) -> None:
    commands, formats = ((DOCS / name).read_text() for name in ("commands.md", "formats.md"))
    named = [name for names in reference.command_names().values() for name in names]
    assert sorted(named) == sorted(COMMANDS)
    assert [name for name in COMMANDS if f"### halcmd {name}\n" not in commands] == []
    assert [name for name in COLUMNS | PATTERNS if f"`{name}`" not in formats] == []
    outputs = {re.sub(r"-fold\d+", "-fold1", name) for name in OUTPUTS}
    assert [name for name in outputs if name not in formats] == []
    strategies = (DOCS / "strategies.md").read_text()
    for name in STRATEGIES:
        section = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", strategies, re.M | re.S)
        assert section, name
        for key, (default, _) in described(importlib.import_module(STRATEGIES[name])).items():
            rows = [line for line in section[1].splitlines() if line.startswith("| `")]
            [row] = [line for line in rows if f"`{key}`" in line.split(" | ")[0]]
            assert f"{default:g}" if isinstance(default, float) else str(default) in row


def test_the_contents_name_every_page() -> None:
    yaml = pytest.importorskip("yaml", reason="mkdocs is not installed (it is in the docs group)")
    found: list[str] = []

    def walk(entry: object) -> None:
        if isinstance(entry, str):
            found.append(entry)
        for item in entry.values() if isinstance(entry, dict) else ():
            walk(item)
        for item in entry if isinstance(entry, list) else ():
            walk(item)

    walk(yaml.safe_load((DOCS / "mkdocs.yml").read_text())["nav"])
    assert sorted(found) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=name_of)
def test_a_page_begins_with_a_command(page: Path) -> None:
    before_first_section = page.read_text().split("\n## ")[0]
    assert "```bash\n" in before_first_section


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_pages_can_be_parsed(page: Path) -> None:
    for script in blocks(page, "bash"):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        for words in commands_in(script):
            assert words[0] == "halcmd" or words[0] in OTHER_PROGRAMS, words
            if "halcmd" in words:
                parse(words[words.index("halcmd") :])
            if words[0] == "bash":
                assert (ROOT / words[1]).exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_named_on_pages_exist(page: Path) -> None:
    commands = [get_command(app), *COMMANDS.values()]
    known = {o for c in commands for p in c.params for o in [*p.opts, *p.secondary_opts]}
    known |= {"--help", "--in_parts"} | {"--constraint", "--group", "--editable", "--upgrade"}
    known |= {"--small", "--check", "--sets", "--table", "--groups", "--picture"}
    known |= {"--in_mask", "--in_3dref", "--in_mics", "--in_movies"}
    known |= {"--ntasks-per-node", "--gpus-per-node", "--nodes", "--mem", "--kill-on-bad-exit"}
    prose = _FENCE.sub("", page.read_text())
    assert sorted(set(re.findall(r"`(--[a-z0-9_-]+)", prose)) - known) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_the_help_can_be_parsed(name: str) -> None:
    lines = [line.strip() for line in (COMMANDS[name].help or "").splitlines()]
    examples = [line for line in lines if line.startswith("halcmd ")]
    assert examples, "the help has no example"
    for example in examples:
        parse(shlex.split(example))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_keeps_its_brackets(name: str) -> None:
    # rich takes [px] for a style and leaves it out of the help
    texts = [getattr(parameter, "help", None) or "" for parameter in COMMANDS[name].params]
    assert [text for text in texts if re.search(r"\[[a-z#/@]", text)] == []


def test_the_quickstart_parses() -> None:
    script = (ROOT / "examples/quickstart.sh").read_text()
    used = set(re.findall(r"^ *halcmd ([a-z-]+)", script, re.MULTILINE))
    assert used <= set(COMMANDS)
    assert {"simulate", "extract", "query", "label-import", "train", "score", "evaluate"} <= used


def test_the_batch_script_parses() -> None:
    script = ROOT / "examples/slurm/train.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    commands = [words for words in commands_in(script.read_text()) if "halcmd" in words]
    for words in commands:
        parse(words[words.index("halcmd") :])
    together = [words[2] for words in commands if words[0] == "${together[@]}"]
    assert together == ["pretrain", "train", "score"]
    assert [words[1] for words in commands if words[0] == "halcmd"] == ["query"]


# The pages that a reader types from: their commands are run, on simulated data.


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with picks.star and tomograms.star of dark tomograms, and their truth."""
    folder = tmp_path_factory.mktemp("project")
    words = "simulate --classes 3 --per-class 24 --tomograms 4 --box 26 --snr 0.5 --contrast dark"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(["halcmd", *words.split(), "--o", "Simulate/"])
    for name in ("picks.star", "tomograms.star"):
        shutil.copy(folder / "Simulate" / name, folder / name)
    return folder


def run(words: list[str]) -> None:
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}"


def answer(path: Path, table: Path, truth: Path) -> None:
    """Write the classes of the particles asked for, as the page of the query saves them."""
    known = read_particles([truth])
    label_of = dict(zip(known.ids, known.labels, strict=True))
    asked = read_particles([table.with_name("query.star")])
    [number] = set(asked.number("halQueryRound"))
    assert path.name == f"labels_round{number:.0f}_NAME.csv"
    lines = [f"{name},{label_of[name]}" for name in asked.ids]
    path.write_text("\n".join(["halParticleId,halLabel", *lines]) + "\n")


def run_page(page: Path, folder: Path) -> int:
    """Run the halcmd commands of a page one after the other; how many."""
    count = 0
    for script in blocks(page, "bash"):
        for words in commands_in(script):
            if words[0] != "halcmd" or words[1].startswith("-"):
                continue
            labels = Path(words[words.index("--labels") + 1]) if "--labels" in words else None
            if labels is not None and labels.suffix == ".csv":
                answer(labels, Path(words[words.index("--i") + 1]), folder / "Simulate/truth.star")
            run(words)
            count += 1
    return count


@pytest.mark.slow
@pytest.mark.xdist_group("pages")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("page", "expected"), [("README.md", 6), ("docs/demo.md", 9), ("docs/tutorial.md", 14)]
)
def test_commands_of_a_page_run_one_after_the_other(
    page: str, expected: int, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    if page == "docs/demo.md":
        shutil.rmtree(folder / "Simulate")
    if page == "README.md":
        (folder / "Score2").symlink_to("Score1")
    if "demo" not in page:
        monkeypatch.setenv("HALCMD_TRAIN_STEPS", "15")
    monkeypatch.setenv("HALCMD_TRAIN_THREADS", "1")
    assert run_page(ROOT / page, folder) >= expected
    selected = next(folder.glob("Select*/particles.star"))
    assert len(read_particles([selected])) > 0


# The examples of extend.md.


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "extensions"
    folder.mkdir()
    names = re.findall(r"^File `halcmd/\w+/(\w+)\.py`", (DOCS / "extend.md").read_text(), re.M)
    for name, text in zip(names, blocks(DOCS / "extend.md", "python"), strict=True):
        (folder / f"example_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_example_of_a_strategy_works(
    extension: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from halcmd.strategies.pool import Pool, QuerySettings

    monkeypatch.setitem(STRATEGIES, "ratio", "example_ratio")
    module = importlib.import_module(STRATEGIES["ratio"])
    probabilities = rng.dirichlet(np.ones(3), 20)
    ids = np.array([f"t/{number:06d}" for number in range(30)], dtype=object)
    pool = Pool(ids, np.arange(10, 30), np.arange(10), probabilities=probabilities)
    chosen = module.select(pool, 5, QuerySettings()).chosen
    ordered = np.sort(probabilities, axis=1)
    assert list(chosen) == list(np.argsort(-ordered[:, -2] / ordered[:, -1])[:5])


def test_the_example_of_an_importer_works(
    extension: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from halcmd.intake.read import read_picks

    monkeypatch.setitem(IMPORTERS, "mypicker", "example_mypicker")
    path = tmp_path / "picks.txt"
    path.write_text("#mypicker 1.0\nTS_01 1 2 3\nTS_02 4 5 6\n")
    (picks,) = read_picks([path], name="mypicker")
    assert list(picks.tomograms) == ["TS_01", "TS_02"]
    assert picks.coordinates.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_example_of_a_network_works(extension: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from halcmd.networks.classifier import as_input, new_network

    monkeypatch.setitem(NETWORKS, "tiny", "example_tiny")
    network = new_network("tiny", box=16, n_classes=3)
    particles = as_input(torch.zeros(2, 16, 16, 16))
    assert network(particles).shape == (2, 3)
    assert network.embedding(particles).shape == (2, 16)


def test_every_format_of_picks_is_documented():
    text = (DOCS / "picks.md").read_text()
    assert [key for key in IMPORTERS if f"| `{key}` |" not in text] == []
