"""halcmd extract."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import (
    COORDS,
    CoordsAngpixOption,
    CoordsOption,
    microscope,
    one_of,
    pair,
)
from halcmd.cli.run import Result, Run
from halcmd.importers import IMPORTERS

FORMATS = ("auto", *IMPORTERS)


def extract(
    run: Run,
    particles: Annotated[
        list[Path],
        Option(
            "--particles",
            "--i",
            help="Picks: STAR, CSV or any format of docs/picks.md. Repeat for several files.",
            rich_help_panel="Input",
            metavar="FILE",
        ),
    ],
    box: Annotated[
        int,
        Option(
            "--box",
            "--b",
            help="Edge of the written boxes in pixels, even.",
            rich_help_panel="Geometry",
        ),
    ],
    tomograms: Annotated[
        list[Path] | None,
        Option(
            help="RELION's tomograms.star, a folder of MRC files, or one MRC file. With a "
            "tomograms.star that names no volumes (RELION 4, Warp), repeat it with the folder. "
            "Default: what an optimisation_set.star names.",
            rich_help_panel="Input",
            metavar="PATH",
        ),
    ] = None,
    volumes: Annotated[
        str,
        Option(
            help="Which volumes, where tomograms.star names several; halves are averaged. auto = "
            "the first of full, denoised, halves that is there.",
            rich_help_panel="Input",
            metavar="auto|full|denoised|halves",
            callback=lambda value: one_of(value, ("auto", "full", "denoised", "halves")),
        ),
    ] = "auto",
    format_: Annotated[
        str,
        Option(
            "--format",
            help="Format of the picks.",
            rich_help_panel="Input",
            metavar="|".join(FORMATS),
            callback=lambda value: one_of(value, FORMATS),
        ),
    ] = "auto",
    coords: CoordsOption = "auto",
    coords_angpix: CoordsAngpixOption = None,
    tomo_angpix: Annotated[
        float | None,
        Option(
            help="Voxel size of the tomograms [A]; beats all other sources. Default: from the "
            "input.",
            rich_help_panel="Input",
            min=0.01,
        ),
    ] = None,
    label_by_file: Annotated[
        bool,
        Option(
            "--label-by-file",
            help="The stem of each file's name is the label of its picks.",
            rich_help_panel="Input",
        ),
    ] = False,
    layout: Annotated[
        str,
        Option(
            help="One volume stack per tomogram, or one .mrc per particle (for RELION).",
            rich_help_panel="Output",
            metavar="stack|single",
            callback=lambda value: one_of(value, ("stack", "single")),
        ),
    ] = "stack",
    float16: Annotated[
        bool,
        Option(
            "--float16",
            help="Half the disk space; RELION 3.1 cannot read it.",
            rich_help_panel="Output",
        ),
    ] = False,
    voltage: Annotated[
        float | None,
        Option(help="In kV, for relion.star where the input has none.", rich_help_panel="Output"),
    ] = None,
    cs: Annotated[
        float | None,
        Option(
            help="Spherical aberration in mm, for relion.star where the input has none.",
            rich_help_panel="Output",
        ),
    ] = None,
    binning: Annotated[
        float,
        Option(
            "--binning",
            "--bin",
            help="Voxels of the tomogram per pixel of the box (Fourier cropping).",
            rich_help_panel="Geometry",
        ),
    ] = 1.0,
    angpix: Annotated[
        float | None,
        Option(
            help="Pixel size of the boxes [A], instead of --binning.", rich_help_panel="Geometry"
        ),
    ] = None,
    edge: Annotated[
        str,
        Option(
            help="Boxes that reach out of the tomogram: fill with the mean of the inside voxels "
            "(dropped when the centre is outside or over half is), drop, or stop.",
            rich_help_panel="Geometry",
            metavar="pad|drop|error",
            callback=lambda value: one_of(value, ("pad", "drop", "error")),
        ),
    ] = "pad",
    apply_origins: Annotated[
        bool,
        Option(
            help="Apply the shifts of the input, with the sign that its program gives them.",
            rich_help_panel="Geometry",
        ),
    ] = True,
    apply_orientations: Annotated[
        bool,
        Option(
            "--apply-orientations",
            help="Turn each box by the orientation of its pick, at its exact position "
            "(interpolated with cubic splines).",
            rich_help_panel="Geometry",
        ),
    ] = False,
    tilt_range: Annotated[
        str | None,
        Option(
            help="First and last tilt in degrees. Default: from tomograms.star, else unknown.",
            rich_help_panel="Geometry",
            metavar="MIN,MAX",
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        Option(help="Share of particles held out as test.", rich_help_panel="Split"),
    ] = 0.0,
    test_by: Annotated[
        str,
        Option(
            help="Hold out whole tomograms, one end of each tomogram, or single particles.",
            rich_help_panel="Split",
            metavar="tomogram|region|particle",
            callback=lambda value: one_of(value, ("tomogram", "region", "particle")),
        ),
    ] = "tomogram",
    contrast: Annotated[
        str,
        Option(
            help="Protein in the tomograms; boxes are written bright.",
            rich_help_panel="Intensity",
            metavar="auto|dark|bright",
            callback=lambda value: one_of(value, ("auto", "dark", "bright")),
        ),
    ] = "auto",
    normalise: Annotated[
        str,
        Option(
            help="Zero mean and unit standard deviation per box, or as cut.",
            rich_help_panel="Intensity",
            metavar="zscore|none",
            callback=lambda value: one_of(value, ("zscore", "none")),
        ),
    ] = "zscore",
    bg_radius: Annotated[
        int,
        Option(
            help="Mean and deviation from outside this radius in pixels of the box, RELION's way; "
            "0 = whole box.",
            rich_help_panel="Intensity",
            min=0,
        ),
    ] = 0,
    lowpass: Annotated[
        float | None,
        Option(help="Remove detail finer than this [A].", rich_help_panel="Intensity", min=0.01),
    ] = None,
) -> Result:
    """Cut subtomograms out of tomograms at picked positions.

    halcmd extract --i picks.star --tomograms tomograms.star --box 32 --o Extract/
    """
    from halcmd.cropping import Geometry, Intensity
    from halcmd.intake.read import read_picks
    from halcmd.steps import extract as step

    tilts = pair(tilt_range, "--tilt-range")
    return step.extract(
        read_picks(particles, name=format_, unit=COORDS.get(coords)),
        tomograms or [],
        run.folder,
        geometry=Geometry(box, binning, angpix, edge),
        intensity=Intensity(contrast, normalise, bg_radius, lowpass),
        split=step.Split(test_fraction, test_by),
        coords_pixel_size=coords_angpix,
        tomogram_pixel_size=tomo_angpix,
        volumes=volumes,
        apply_origins=apply_origins,
        apply_orientations=apply_orientations,
        label_by_file=label_by_file,
        tilt_range=tilts,
        layout=layout,
        float16=float16,
        optics=microscope(voltage, cs),
        threads=run.cpu_threads,
        seed=run.seed,
    )
