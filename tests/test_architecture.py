"""The rules that keep the code easy to find one's way in."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

import pytest

from halcmd.handoff import HANDOFFS
from halcmd.importers import IMPORTERS
from halcmd.networks import NETWORKS
from halcmd.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "halcmd").rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}

LONGEST_FILE = 350
LONGEST_FUNCTION = 60
HEAVY = (
    *("torch", "numpy", "scipy", "sklearn", "matplotlib", "jinja2"),
    *("mrcfile", "safetensors", "pandas", "lightning_fabric"),
)
FILE_MODULES = {"mrcfile", "safetensors", "starfile", "zipfile", "gzip"}
FILE_METHODS = {
    *("read_text", "write_text", "read_bytes", "write_bytes", "savefig"),
    *("memmap", "open_memmap", "fromfile", "tofile", "loadtxt", "savetxt", "genfromtxt"),
}
FILE_FUNCTIONS = {"np.load", "np.save", "np.savez", "torch.load", "torch.save"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_point_one_way() -> None:
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("import-linter is not installed (it is in the lint group)")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom halcmd.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert "halcmd.cli.train" in loaded
    assert sorted(loaded & set(HEAVY)) == []
    assert sorted(name for name in loaded if name.startswith("halcmd.steps")) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines"
    functions = [
        node
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = {
        node.name: length for node in functions if (length := body(node)) > LONGEST_FUNCTION
    }
    assert too_long == {}


def body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    if not statements:
        return 0
    return (function.end_lineno or 0) - statements[0].lineno + 1


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    names = {path.stem for path in SOURCES}
    assert names.isdisjoint({"utils", "util", "helpers", "helper", "misc", "common"})


def test_only_the_console_prints() -> None:
    printing = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert printing == {"halcmd/console.py"}


def test_only_device_knows_cuda() -> None:
    knowing = {name_of(p) for p in SOURCES if re.search(r"\bcuda\b", p.read_text(), re.IGNORECASE)}
    assert knowing == {"halcmd/compute/device.py"}


def test_only_group_knows_torch_distributed() -> None:
    pattern = r"torch\.distributed\b.*import|import torch\.distributed|lightning"
    knowing = {
        name_of(path)
        for path in SOURCES
        if any(re.search(pattern, line) for line in path.read_text().splitlines())
    }
    assert knowing == {"halcmd/compute/group.py"}


def test_only_cli_imports_typer() -> None:
    importing = {path for path in SOURCES if "typer" in imported(TREES[path])}
    assert {path.parent.name for path in importing} == {"cli"}


def test_only_formats_and_importers_open_files() -> None:
    opening = {
        f"{name_of(path)}: {what}"
        for path in SOURCES
        if path.parent.name not in {"formats", "importers"}
        for what in file_accesses(TREES[path])
    }
    assert opening == set()


def file_accesses(tree: ast.Module) -> Iterator[str]:
    """What in a module reads or writes files by itself."""
    yield from imported(tree) & FILE_MODULES
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        method = function.rsplit(".", 1)[-1]
        mode = [argument for argument in node.args if isinstance(argument, ast.Constant)]
        opens = function == "open" or (method == "open" and (mode or not node.args))
        if opens or function in FILE_FUNCTIONS or ("." in function and method in FILE_METHODS):
            yield f"{function}, line {node.lineno}"


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of the packages that a module imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


REGISTERED = [
    *((module, {"recognises": ["file"], "read": ["file"]}) for module in IMPORTERS.values()),
    *((module, {"select": ["pool", "n", "settings"]}) for module in STRATEGIES.values()),
    *((module, {"check_box": ["box"], "build": []}) for module in NETWORKS.values()),
    *(
        (module, {"check": ["particles"], "write": ["particles", "folder"]})
        for module in HANDOFFS.values()
    ),
]


@pytest.mark.parametrize(("module", "functions"), REGISTERED, ids=[m for m, _ in REGISTERED])
def test_a_registered_module_has_what_its_kind_needs(
    module: str, functions: dict[str, list[str]]
) -> None:
    loaded = import_module(module)
    assert loaded.__doc__
    for name, wanted in functions.items():
        parameters = signature(getattr(loaded, name)).parameters.values()
        positional = [p.name for p in parameters if p.kind is not Parameter.KEYWORD_ONLY]
        assert positional == wanted
    if module in NETWORKS.values():
        keywords = set(signature(loaded.build).parameters)
        assert {"box", "n_classes", "widths", "dropout"} <= keywords


@pytest.mark.parametrize("package", ["strategies", "importers", "networks", "handoff"])
def test_every_module_of_a_plug_in_folder_is_of_use(package: str) -> None:
    registries = {"strategies": STRATEGIES, "importers": IMPORTERS, "networks": NETWORKS}
    registries["handoff"] = HANDOFFS
    folder = ROOT / "halcmd" / package
    registered = {path.rsplit(".", 1)[-1] for path in registries[package].values()}
    own = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    used = {
        name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("halcmd.")
        for name in [str(node.module).rsplit(".", 1)[-1], *(alias.name for alias in node.names)]
    }
    assert registered <= own
    assert own - registered <= used


def test_steps_and_cli_have_the_same_commands() -> None:
    steps = {path.stem for path in (ROOT / "halcmd/steps").glob("*.py")}
    commands = {path.stem for path in (ROOT / "halcmd/cli").glob("*.py")}
    assert commands - steps == {"app", "config", "job", "options", "run"}
    parts = {name for name in steps for command in commands if name.startswith(f"{command}_")}
    assert steps - commands - parts == set()  # a part of a step is named after it
