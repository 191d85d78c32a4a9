"""Option types that several subcommands share."""

from pathlib import Path
from typing import Annotated, Any

from typer import BadParameter, Option

from halcmd.errors import OptionError
from halcmd.networks import NETWORKS

ParticlesOption = Annotated[
    list[Path],
    Option(
        "--particles",
        "--i",
        help="Particle table (STAR). Repeat to join tables with the same columns.",
        rich_help_panel="Input",
        metavar="FILE",
    ),
]
OneParticlesOption = Annotated[
    Path,
    Option(
        "--particles",
        "--i",
        help="Particle table (STAR).",
        rich_help_panel="Input",
        metavar="FILE",
    ),
]
PreviousOption = Annotated[
    list[Path] | None,
    Option(
        help="Scored particles.star of an earlier round, for the stop advice; repeat for each.",
        rich_help_panel="Input",
        metavar="FILE",
    ),
]
PrecisionOption = Annotated[
    str,
    Option(
        help="Number format: auto (bf16 on a GPU, else 32), 32, bf16 or 16.",
        rich_help_panel="Compute",
        metavar="auto|32|bf16|16",
        callback=lambda value: one_of(value, ("auto", "32", "bf16", "16")),
    ),
]
_AUGMENT = ("full", "flips", "none")
TiltRangeOption = Annotated[
    str | None,
    Option(
        help="First and last tilt in degrees, for rotations. Default: halTiltMin, halTiltMax.",
        rich_help_panel="Training",
        metavar="MIN,MAX",
    ),
]
ResumeOption = Annotated[
    bool,
    Option(
        "--resume",
        help="Go on from the checkpoint of a run that was stopped.",
        rich_help_panel="Training",
    ),
]
ReportOption = Annotated[
    bool,
    Option(
        "--report/--no-report",
        help="Write report.html plus plots.",
        rich_help_panel="Output",
    ),
]
COORDS = {
    "pixel": "voxel",
    "angst": "angstrom",
    "centered-angst": "centred_angstrom",
    "normalised": "normalised",
}
CoordsOption = Annotated[
    str,
    Option(
        help="Unit and origin of the coordinates.",
        rich_help_panel="Input",
        metavar="|".join(("auto", *COORDS)),
        callback=lambda value: one_of(value, ("auto", *COORDS)),
    ),
]
CoordsAngpixOption = Annotated[
    float | None,
    Option(
        help="Pixel size of the coordinates [A]. Default: from the input.",
        rich_help_panel="Input",
        min=0.01,
    ),
]


def augment_option(default: str) -> Any:
    """``--augment``, with the default that the help names."""
    return Option(
        help="Half turns and shifts (flips), for half of the particles any rotation with the "
        f"missing wedge cut anew (full), or neither. Default: {default}.",
        rich_help_panel="Training",
        metavar="|".join(_AUGMENT),
        callback=lambda value: one_of(value, _AUGMENT),
    )


def network_option(default: str) -> Any:
    """``--network``, with the default that the help names."""
    return Option(
        help=f"Architecture. Default: {default}.",
        rich_help_panel="Model",
        metavar="|".join(NETWORKS),
        callback=lambda value: one_of(value, tuple(NETWORKS)),
    )


def one_of(value: str | None, choices: tuple[str, ...]) -> str | None:
    """The value, checked; for options whose choices are few and fixed."""
    if value is not None and value not in choices:
        raise BadParameter(f"{value!r} is not one of {', '.join(choices)}")
    return value


def pair(text: str | None, what: str) -> tuple[float, float] | None:
    """Two numbers from ``MIN,MAX``; raises OptionError."""
    if text is None:
        return None
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError as error:
        raise OptionError(f"{what} takes two numbers, such as -60,60", found=text) from error
    if not low < high:
        raise OptionError(f"{what}: {low:g} is not below {high:g}")
    return low, high


def microscope(voltage: float | None, cs: float | None) -> dict[str, str]:
    """The optics columns of ``--voltage`` (kV) and ``--cs`` (mm), where they are given."""
    given = {"rlnVoltage": voltage, "rlnSphericalAberration": cs}
    return {label: str(value) for label, value in given.items() if value is not None}
