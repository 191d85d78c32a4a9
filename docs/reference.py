"""Write the parts of the documentation that follow from the code.

``commands.md`` from the help of every subcommand; in ``formats.md`` the table of columns, between
its two comments. ``python docs/reference.py`` writes them, ``--check`` fails where they are stale.
"""

import os
import sys
from pathlib import Path

# Set before Typer is loaded: plain text of a fixed width, wherever this runs.
os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
os.environ["TERMINAL_WIDTH"] = "100"
os.environ["NO_COLOR"] = "1"
for _name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
    os.environ.pop(_name, None)

from typer.main import get_command  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from halcmd.cli.app import GROUPS, app  # noqa: E402
from halcmd.columns import COLUMNS, PATTERNS, Column  # noqa: E402

DOCS = Path(__file__).resolve().parent

_HEAD = """# Commands

```bash
halcmd --help
```

Every command shows this text with `--help`. What holds for all of them comes first.

- `--o DIR/` is the job folder: it is made if need be, and holds all that the command writes. A
  folder that holds results already is refused unless you say `--overwrite`.
- `--i FILE` is the particle table. `--dry-run` checks everything and writes nothing.
- `--seed` sets all random choices: the same input, options and seed give the same STAR files, byte
  by byte, on a CPU.
- Underscores may stand for hyphens: `halcmd label_import --max_distance 20` works as well.
- `--config FILE` reads settings from a TOML file with one table per command; each job folder keeps
  its own in `settings.toml`. An environment variable such as `HALCMD_TRAIN_STEPS` wins over the
  file, the command line wins over both.
- The log goes to the screen and to `run.log`; warnings and errors go to stderr. With `--json`, the
  log goes to stderr and stdout holds one JSON object; of an error it is `error`, `where`, `found`,
  `hint` (null where there is none), `exit_code` and `warnings`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an error, with what to do about it |
| 2 | the command line cannot be understood |
| 3 | `query` has nothing left to ask, or its stop rule is met: `while halcmd query ...` ends |
| 4 | stopped by RELION |
| 130, 143 | interrupted, terminated |

"""


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` say which are stale; the exit code."""
    pages = {DOCS / "commands.md": commands_page(), DOCS / "formats.md": formats_page()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is stale: python docs/reference.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path])
        print(f"wrote {path}")
    return 0


def commands_page() -> str:
    """``commands.md``: the help of every subcommand, in the order of ``halcmd --help``."""
    parts = [_HEAD]
    for group, names in command_names().items():
        parts.append(f"## {group}\n\n")
        for name in names:
            parts.append(f"### halcmd {name}\n\n```text\n{help_of(name)}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


def command_names() -> dict[str, list[str]]:
    """Subcommands by group, as ``halcmd --help`` has them."""
    groups = {
        group: [function.__name__.replace("_", "-") for function in functions]
        for group, functions in GROUPS.items()
    }
    grouped = {name for names in groups.values() for name in names}
    others = [name for name in get_command(app).commands if name not in grouped]  # type: ignore[attr-defined]
    return groups | {"Setup": others}


def help_of(name: str) -> str:
    """What ``halcmd NAME --help`` prints, without blanks at line ends."""
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines()).strip("\n")


def formats_page() -> str:
    """``formats.md`` with its table of columns made anew."""
    begin, end = "<!-- columns: begin -->", "<!-- columns: end -->"
    text = (DOCS / "formats.md").read_text()
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"formats.md needs the comments {begin} and {end}")
    return f"{head}{begin}\n{columns_table()}\n{end}{tail}"


def columns_table() -> str:
    """Every ``hal*`` column as a Markdown table."""
    lines = ["| column | written by | kind | empty | meaning |", "|---|---|---|---|---|"]
    lines += [_row(name, column) for name, column in (COLUMNS | PATTERNS).items()]
    return "\n".join(lines)


def _row(name: str, column: Column) -> str:
    kind = f"{column.kind}, {column.unit}" if column.unit else column.kind
    return f"| `{name}` | {column.by} | {kind} | `{column.empty}` | {column.meaning} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
