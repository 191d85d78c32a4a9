"""Pages of particles on A4, as a PDF and its first page as a PNG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from halcmd.formats.files import atomic
from halcmd.formats.particle_plots import bar_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 210.0, 297.0  # mm, A4
_MARGIN, _TOP, _BOTTOM = 12.0, 21.0, 8.0
_COLUMNS, _ROWS = 2, 8
PER_PAGE = _COLUMNS * _ROWS
_GUTTER, _GAP = 10.0, 1.2  # mm, between columns and between planes
_PLANES = 4
_CARD = (_WIDTH - 2 * _MARGIN - _GUTTER) / _COLUMNS
_EDGE = (_CARD - (_PLANES - 1) * _GAP) / _PLANES
_ROW = (_HEIGHT - _TOP - _BOTTOM) / _ROWS
_LONGEST_ID = 26
_DPI = 150
_MM = 1 / 25.4


@dataclass(frozen=True)
class Card:
    """One particle on the page.

    Attributes
    ----------
    rank, name, predicted : str
        Its place in the query, its id, and predicted class with probability; may be empty.
    planes : ndarray, shape (4, edge, edge)
        Central xy, xz, yz slice and a slab; the first axis of a plane upwards.
    """

    rank: str
    name: str
    predicted: str
    planes: np.ndarray


def write_montage(
    pdf: Path, png: Path, cards: Sequence[Card], *, heading: str, note: str, pixel_size: float
) -> None:
    """Draw particles on A4 pages with room for a label beneath each; the same bytes each time.

    Parameters
    ----------
    pdf, png : Path
        All pages, and the first.
    cards : sequence of Card
        At least one.
    heading, note : str
        Two lines at the top of each page.
    pixel_size : float
        Angstrom, for the scale bars.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    with (
        rc_context({"image.composite_image": False}),
        atomic(pdf) as temporary,
        PdfPages(temporary, metadata=metadata) as pages,
    ):
        for number, figure in enumerate(_pages(cards, heading, note, pixel_size)):
            pages.savefig(figure, dpi=_DPI)
            if number == 0:
                with atomic(png) as picture:
                    figure.savefig(
                        picture,
                        format="png",
                        dpi=_DPI,
                        metadata={"Software": None},
                        pil_kwargs={"compress_level": 3},
                    )


def _pages(cards: Sequence[Card], heading: str, note: str, pixel_size: float) -> Iterator["Figure"]:
    from matplotlib.figure import Figure

    count = -(-len(cards) // PER_PAGE)
    nanometres = cards[0].planes.shape[-1] * pixel_size / 10
    for page in range(count):
        figure = Figure(figsize=(_WIDTH * _MM, _HEIGHT * _MM))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        axes.set_axis_off()
        _write(axes, _MARGIN, _HEIGHT - 11, heading, size=10, weight="bold")
        _write(axes, _WIDTH - _MARGIN, _HEIGHT - 11, f"{page + 1} / {count}", size=9, ha="right")
        _write(axes, _MARGIN, _HEIGHT - 15.5, f"{note}; bar: {bar_length(nanometres):g} nm", size=8)
        for place, card in enumerate(cards[page * PER_PAGE : (page + 1) * PER_PAGE]):
            column, row = divmod(place, _ROWS)
            left = _MARGIN + column * (_CARD + _GUTTER)
            _draw(axes, left, _HEIGHT - _TOP - row * _ROW, card, nanometres)
        axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        yield figure


def _draw(axes: "Axes", left: float, top: float, card: Card, nanometres: float) -> None:
    """One particle: names above its planes, a line for the label beneath them."""
    _write(axes, left, top - 2.2, f"{card.rank}", size=10, weight="bold")
    _write(axes, left + 8, top - 2.2, _shortened(card.name), size=8)
    _write(axes, left + _CARD, top - 2.2, card.predicted, size=8, ha="right")
    upper = top - 4.6
    axes.imshow(
        _strip(card.planes),
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(left, left + _CARD, upper - _EDGE, upper),
        aspect="auto",
    )
    length = _EDGE * bar_length(nanometres) / nanometres
    for width, colour in ((3.5, "black"), (1.8, "white")):
        ends = [left + 1.0, left + 1.0 + length]
        axes.plot(ends, [upper - _EDGE + 1.4] * 2, color=colour, lw=width, solid_capstyle="butt")
    line = upper - _EDGE - 5.2
    _write(axes, left, line + 0.9, "label", size=7, colour="0.4")
    axes.plot([left + 8, left + _CARD], [line, line], color="0.5", lw=0.6)


def _strip(planes: np.ndarray) -> np.ndarray:
    """Planes side by side with white between them, uint8, as fine as they are printed."""
    edge = planes.shape[-1]
    low, high = np.percentile(planes.reshape(len(planes), -1), (0.5, 99.5), axis=1)[..., None, None]
    finer = _finer(edge, max(round(_EDGE * _MM * _DPI), edge))
    grey = (planes - low) / np.maximum(high - low, 1e-6)  # a plane outside the tomogram is flat
    tiles = np.clip(finer @ grey @ finer.T, 0.0, 1.0)[:, ::-1] * 255
    gap = np.full((len(finer), round(len(finer) * _GAP / _EDGE)), 255.0)
    parts = [part for tile in tiles for part in (tile, gap)][:-1]
    return np.concatenate(parts, axis=1).astype(np.uint8)


@cache
def _finer(old: int, new: int) -> np.ndarray:
    """A matrix, shape (new, old), that resamples to more points with the cubic B-spline.

    Without prefilter: it takes off a little of the noise, which Lanczos' kernel keeps.
    """
    places = (np.arange(new) + 0.5) * old / new - 0.5
    gaps = np.abs(places[:, None] - np.arange(old))
    near, far = 2 / 3 - gaps**2 + gaps**3 / 2, np.clip(2 - gaps, 0, None) ** 3 / 6
    weights = np.where(gaps < 1, near, far)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _write(
    axes: "Axes",
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    ha: str = "left",
    weight: str = "normal",
    colour: str = "black",
) -> None:
    axes.text(
        *(x, y, text),
        ha=ha,
        va="baseline",
        fontsize=size,
        weight=weight,
        color=colour,
        parse_math=False,  # a name is no formula, whatever signs it holds
    )


def _shortened(name: str) -> str:
    """A name that fits beside the class; of a long one, the end tells particles apart."""
    return name if len(name) <= _LONGEST_ID else f"…{name[1 - _LONGEST_ID :]}"
