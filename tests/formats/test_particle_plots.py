"""Maps and slices of particles are drawn for awkward inputs too, the same each time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from halcmd.formats import particle_plots
from halcmd.formats.particle_plots import Slices, plot_map, plot_slices


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved from now on."""
    figures: list[Figure] = []
    save = particle_plots.save_figure
    monkeypatch.setattr(
        particle_plots,
        "save_figure",
        lambda figure, path: (figures.append(figure), save(figure, path)),
    )
    return figures


def pictures(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.get_axes() if axes.images]


def map_of(path: Path, place: list[int], names: list[str]) -> None:
    points = np.random.default_rng(0).normal(size=(len(place), 2))
    panels = {"label": np.array(place)}
    plot_map(path, points, panels, names=names, rest="unlabelled", axis="t-SNE")


def test_the_legend_names_what_is_there_and_stands_beside_the_points(tmp_path, drawn):
    map_of(tmp_path / "a.png", [-1, 0, 2, 2], ["rod", "ball", "junk"])
    legend = drawn[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["unlabelled", "rod", "junk"]
    panel = drawn[0].get_axes()[0].get_window_extent()
    assert legend.get_window_extent().x0 > panel.x1


def test_twenty_classes_look_different(tmp_path, drawn):
    map_of(tmp_path / "a.png", list(range(20)), [f"class_{number}" for number in range(20)])
    clouds = drawn[0].get_axes()[0].collections
    looks = {
        (tuple(cloud.get_facecolor()[0]), len(cloud.get_paths()[0].vertices)) for cloud in clouds
    }
    assert len(looks) == 20


@pytest.mark.parametrize("place", [[-1], [-1, -1], [0, 0], list(range(70))])
def test_a_map_of_any_number_of_names(tmp_path, place):
    names = [f"class_{number}" for number in range(max(place) + 1)]
    for name in ("a.png", "b.png"):
        map_of(tmp_path / name, place, names)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_slices_lie_as_they_do_in_the_box(tmp_path, drawn):
    planes = np.random.default_rng(0).normal(size=(1, 3, 8, 8))
    group = Slices("Most", planes, [("TS_1/000001", "rod 0.90")])
    plot_slices(tmp_path / "a.png", [group], pixel_size=10.0)
    (axes,) = pictures(drawn[0])
    assert [image.origin for image in axes.images] == ["lower"] * 3
    for image, plane in zip(axes.images, planes[0], strict=True):
        np.testing.assert_array_equal(image.get_array(), plane)
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["xy", "xz", "yz", "2 nm", "TS_1/000001\nrod 0.90"]
    bar = axes.lines[-1].get_xdata()
    assert (bar[1] - bar[0]) * 1.0 == pytest.approx(2.0)  # nm, at 1 nm a pixel


@pytest.mark.parametrize(
    ("edge", "length"), [(8.0, 2), (12.5, 5), (36.0, 10), (51.0, 20), (1, 0.2)]
)
def test_a_scale_bar_is_round_and_at_most_two_fifths_of_the_box(edge, length):
    assert particle_plots.bar_length(edge) == pytest.approx(length)


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are(tmp_path, drawn):
    names = ["a $x^{2$ b", "\\frac{", "トモグラム/000001", "x" * 90 + "/000007"]
    group = Slices("Least", np.ones((4, 3, 8, 8)), [(name, "rod 0.50") for name in names])
    plot_slices(tmp_path / "a.png", [group], pixel_size=10.0)
    captions = [axes.texts[-1].get_text().split("\n")[0] for axes in pictures(drawn[0])]
    assert captions[:3] == names[:3]
    assert captions[3] == "…" + "x" * 22 + "/000007"


def test_groups_without_particles_are_left_out(tmp_path, drawn):
    some = Slices("Most", np.zeros((4, 3, 8, 8)), [("a", "b")] * 4)
    plot_slices(tmp_path / "a.png", [some, Slices("Least", some.planes[:0], [])], pixel_size=10.0)
    assert [part.get_suptitle() for part in drawn[0].subfigs] == ["Most"]
    assert len(pictures(drawn[0])) == 4
