"""``halcmd``: the list of subcommands."""

import os
from typing import Annotated

import typer
from typer import Option

from halcmd import __version__
from halcmd.cli.benchmark import benchmark
from halcmd.cli.evaluate import evaluate
from halcmd.cli.extract import extract
from halcmd.cli.info import info
from halcmd.cli.job import JobCommand, JobGroup
from halcmd.cli.label_import import label_import
from halcmd.cli.pretrain import pretrain
from halcmd.cli.query import query
from halcmd.cli.run import ALIASES, Command, add_job, hide_environment
from halcmd.cli.score import score
from halcmd.cli.select import select
from halcmd.cli.simulate import simulate
from halcmd.cli.train import train


def normalise(word: str) -> str:
    """Underscores for hyphens, and RELION's names for its inputs."""
    plain = word.replace("_", "-")
    return ALIASES.get(plain, plain)


app = typer.Typer(
    name="halcmd",
    cls=JobGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": normalise,
    },
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"halcmd {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Find the cryo-ET subtomograms worth labelling, learn from the labels, hand the classes back.

    Each step is one subcommand; all read and write STAR files and MRC stacks.
    """


GROUPS: dict[str, tuple[Command, ...]] = {
    "Data": (simulate, extract, select),
    "Learning": (pretrain, train, score),
    "Active learning": (query, label_import),
    "Assessment": (evaluate, benchmark),
}
"""Every subcommand with a job folder, in the order of ``halcmd --help``."""

for _panel, _commands in GROUPS.items():
    for _command in _commands:
        add_job(app, _command, _panel)
app.command("info", rich_help_panel="Setup", cls=JobCommand)(hide_environment(info))


def main() -> None:
    """The console script."""
    # Read when torch loads. Threads of a pool that has nothing to do shall sleep: where they spin,
    # two programs on the same cores are slowed down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Where a process of several ends, torch would print the stack of each of the others.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    app()
