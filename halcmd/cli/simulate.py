"""halcmd simulate."""

from pathlib import Path
from typing import Annotated

from typer import Option

from halcmd.cli.options import one_of, pair
from halcmd.cli.run import Result, Run
from halcmd.errors import OptionError

CONTRASTS = ("bright", "dark")


def weights(text: str | None) -> tuple[float, ...]:
    """Numbers from ``2,1,1``; raises OptionError."""
    try:
        return tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        raise OptionError("--balance takes numbers, such as 2,1,1", found=text) from error


def simulate(
    run: Run,
    maps: Annotated[
        list[Path] | None,
        Option(
            help="Density map (MRC) or a folder of them, one class each, named after the file. "
            "Repeatable. Default: built-in shapes.",
            rich_help_panel="Input",
            metavar="PATH",
        ),
    ] = None,
    classes: Annotated[
        int, Option(help="Number of built-in shapes, up to 13.", rich_help_panel="Input")
    ] = 6,
    per_class: Annotated[
        int,
        Option(help="Particles per class in the whole data set.", rich_help_panel="Scene"),
    ] = 100,
    balance: Annotated[
        str | None,
        Option(
            help="Weight of each class; --per-class is then the mean. Default: equal.",
            rich_help_panel="Scene",
            metavar="FLOAT,...",
        ),
    ] = None,
    junk: Annotated[
        float,
        Option(
            help="Further picks that are no particle (ice, membrane, aggregate, fragment), as a "
            "fraction of the particles.",
            rich_help_panel="Scene",
        ),
    ] = 0.0,
    tomograms: Annotated[
        int,
        Option(
            help="Number of crowded tomograms to write, with picks; 0 = subtomograms only.",
            rich_help_panel="Scene",
        ),
    ] = 0,
    box: Annotated[
        int,
        Option("--box", "--b", help="Edge of the boxes in pixels, even.", rich_help_panel="Scene"),
    ] = 32,
    angpix: Annotated[
        float, Option(help="Voxel size in Angstrom.", rich_help_panel="Scene")
    ] = 10.0,
    snr: Annotated[
        float,
        Option(
            help="Variance of the signal over that of the noise in the box, after CTF and wedge, "
            "mean over the particles; inf = no noise.",
            rich_help_panel="Imaging",
        ),
    ] = 0.1,
    tilt_range: Annotated[
        str,
        Option(
            help="First and last tilt in degrees.", rich_help_panel="Imaging", metavar="MIN,MAX"
        ),
    ] = "-60,60",
    tilt_step: Annotated[
        float, Option(help="Between tilts, in degrees.", rich_help_panel="Imaging")
    ] = 3.0,
    defocus: Annotated[float, Option(help="Underfocus in um.", rich_help_panel="Imaging")] = 5.0,
    voltage: Annotated[
        float, Option(help="Of the microscope, in kV.", rich_help_panel="Imaging")
    ] = 300.0,
    cs: Annotated[
        float, Option(help="Spherical aberration in mm.", rich_help_panel="Imaging")
    ] = 2.7,
    amplitude_contrast: Annotated[
        float, Option(help="Fraction.", rich_help_panel="Imaging")
    ] = 0.07,
    ctf: Annotated[
        bool,
        Option(help="Contrast transfer function; left uncorrected.", rich_help_panel="Imaging"),
    ] = True,
    mtf: Annotated[
        bool, Option(help="Blur of the detector's pixels.", rich_help_panel="Imaging")
    ] = True,
    contrast: Annotated[
        str,
        Option(
            help="Whether protein is bright or dark.",
            rich_help_panel="Imaging",
            metavar="|".join(CONTRASTS),
            callback=lambda value: one_of(value, CONTRASTS),
        ),
    ] = "bright",
    test_fraction: Annotated[
        float,
        Option(
            help="Share of test particles; by tomogram where there are several.",
            rich_help_panel="Split",
        ),
    ] = 0.25,
) -> Result:
    """Make subtomograms or tomograms of known truth: poses, tilt series, CTF, noise, wedge.

    halcmd simulate --classes 6 --per-class 200 --o Simulate/
    """
    from halcmd.imaging.microscope import Optics
    from halcmd.imaging.simulated import Acquisition, Scene
    from halcmd.steps import simulate as step

    angles = pair(tilt_range, "--tilt-range")
    assert angles is not None
    return step.simulate(
        run.folder,
        scene=Scene(
            maps=maps or (),
            classes=classes,
            per_class=per_class,
            balance=weights(balance),
            junk=junk,
            tomograms=tomograms,
            box=box,
            pixel_size=angpix,
        ),
        acquisition=Acquisition(
            snr=snr,
            tilt_range=angles,
            tilt_step=tilt_step,
            optics=Optics(defocus, voltage, cs, amplitude_contrast, ctf, mtf),
            contrast=contrast,
        ),
        test_fraction=test_fraction,
        seed=run.seed,
        device=run.device(),
    )
