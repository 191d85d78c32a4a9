"""halcmd label-import."""

from inspect import signature
from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import (
    COORDS,
    CoordsAngpixOption,
    CoordsOption,
    OneParticlesOption,
    one_of,
)
from halcmd.cli.run import Result, Run
from halcmd.importers import IMPORTERS

_FORMATS = ("auto", *IMPORTERS)


def label_import(
    run: Run,
    particles: OneParticlesOption,
    labels: Annotated[
        list[Path] | None,
        Option(
            help="Labels: STAR, CSV, TSV or any format of picks (docs/picks.md). Repeat for "
            "several files. May be left out with --rename.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    format_: Annotated[
        str,
        Option(
            "--format",
            help="Format of coordinates in the label files.",
            rich_help_panel="Input",
            metavar="|".join(_FORMATS),
            callback=lambda value: one_of(value, _FORMATS),
        ),
    ] = "auto",
    tomograms: Annotated[
        list[Path] | None,
        Option(
            help="As for extract, where the volumes alone do not say how coordinates are read: "
            "tomograms.star.",
            rich_help_panel="Input",
            metavar="PATH",
        ),
    ] = None,
    coords: CoordsOption = "auto",
    coords_angpix: CoordsAngpixOption = None,
    only: Annotated[
        Path | None,
        Option(
            help="Take labels for the particles of this file only (query.star).",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ] = None,
    match: Annotated[
        str,
        Option(
            help="How rows find their particle; auto = the first that both files allow.",
            rich_help_panel="Matching",
            metavar="auto|id|name|coordinate",
            callback=lambda value: one_of(value, ("auto", "id", "name", "coordinate")),
        ),
    ] = "auto",
    max_distance: Annotated[
        float | None,
        Option(
            help="For coordinates [A]. Default: two voxels of the tomogram.",
            rich_help_panel="Matching",
            min=0.0,
        ),
    ] = None,
    allow_unmatched: Annotated[
        bool,
        Option(
            "--allow-unmatched",
            help="Leave out rows that are of no particle, of several, or of one elsewhere; "
            "unused.star lists them.",
            rich_help_panel="Matching",
        ),
    ] = False,
    label_column: Annotated[
        str | None,
        Option(
            help="Column with the class. Default: halLabel, label, class or rlnClassNumber.",
            rich_help_panel="Labels",
        ),
    ] = None,
    label: Annotated[
        str | None, Option(help="One class for all rows of the files.", rich_help_panel="Labels")
    ] = None,
    rename: Annotated[
        Path | None,
        Option(
            help="Class names to change, lines old,new: those of the label files, or without "
            "--labels those of the table.",
            rich_help_panel="Labels",
            metavar="FILE",
        ),
    ] = None,
    absent: Annotated[
        str | None,
        Option(
            help="Label for unlabelled pool particles that no file names, such as junk after a "
            "subset selection.",
            rich_help_panel="Labels",
        ),
    ] = None,
    conflict: Annotated[
        str,
        Option(
            help="Contradictory answers for one particle; majority counts earlier imports too.",
            rich_help_panel="Labels",
            metavar="error|first|last|majority",
            callback=lambda value: one_of(value, ("error", "first", "last", "majority")),
        ),
    ] = "error",
    relabel: Annotated[
        bool,
        Option(
            "--relabel", help="Existing labels and splits may change.", rich_help_panel="Labels"
        ),
    ] = False,
    annotator: Annotated[
        str | None,
        Option(
            help="Who gave the labels. Default: column annotator of the file, else its name.",
            rich_help_panel="Labels",
        ),
    ] = None,
    split: Annotated[
        str,
        Option(
            "--as",
            help="halSplit of the particles labelled here.",
            rich_help_panel="Labels",
            metavar="keep|pool|test",
            callback=lambda value: one_of(value, ("keep", "pool", "test")),
        ),
    ] = "keep",
    label_round: Annotated[
        int | None,
        Option(
            "--round", help="Round of these labels. Default: the next.", rich_help_panel="Labels"
        ),
    ] = None,
) -> Result:
    """Bring labels back, matched by id, image name or coordinates.

    halcmd label-import --i Extract/particles.star --labels query.csv --o Label/
    """
    from halcmd.errors import OptionError
    from halcmd.intake.label_matching import Placing
    from halcmd.intake.labels import read_labels, read_renames
    from halcmd.steps import label_import as step

    if not labels:
        if rename is None:
            raise OptionError("--labels is missing", hint="--labels FILE, or --rename FILE alone")
        own = {*signature(label_import).parameters} - {"run", "particles", "rename"}
        run.check_used(own, "without --labels")
        renames = read_renames(rename)
        return step.rename_labels(run.read([particles]), run.folder, renames=renames, file=rename)
    renames = read_renames(rename) if rename else {}
    files = [
        read_labels(
            path,
            name=format_,
            column=label_column,
            one_label=label,
            renames=renames,
            unit=COORDS.get(coords),
        )
        for path in labels
    ]
    return step.label_import(
        run.read([particles]),
        files,
        run.folder,
        rules=step.Rules(
            match,
            max_distance,
            conflict,
            relabel,
            allow_unmatched,
            absent,
            split,
            Placing(tuple(tomograms or ()), coords_angpix),
        ),
        only=only,
        annotator=annotator,
        label_round=label_round,
    )
