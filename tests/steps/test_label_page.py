"""labels.html in a browser: a person labels by keys alone, and label-import takes what is saved."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from halcmd.cropping import crop_turned
from halcmd.errors import InputError
from halcmd.formats.mrc_writing import write_stack, write_volume
from halcmd.intake.labels import read_labels
from halcmd.labels.annotations import answers_of
from halcmd.particles import Particles, new_particles
from halcmd.poses import euler_matrices
from halcmd.reports.labelling import PageSettings, label_page, page_settings
from halcmd.steps.label_import import Rules, label_import
from halcmd.steps.query import query
from halcmd.strategies.pool import QuerySettings
from halcmd.tables import read_particles

CLASSES = ("apo", "ribo", "thermo")
ASKED, LABELLED, BOX, SIZE = 50, 12, 16, 10.0

pytestmark = pytest.mark.xdist_group("browser")


def table(folder: Path, count: int = ASKED + LABELLED, **columns: list[str]) -> Particles:
    """Particles of three classes with boxes, a tomogram around them, and predictions."""
    rng = np.random.default_rng(3)
    boxes = rng.normal(size=(count, BOX, BOX, BOX)).astype(np.float32)
    boxes[:, 5:11, 5:11, 5:11] += 3
    images = write_stack(folder / "boxes.mrcs", iter([boxes]), count, BOX, pixel_size=SIZE)
    write_volume(folder / "t.mrc", rng.normal(size=(20, 60, 60)).astype(np.float32), SIZE)
    labels = [CLASSES[n % 3] if n < LABELLED else "unlabelled" for n in range(count)]
    made: dict[str, list[str]] = {
        "halParticleId": [f"T/{n:06d}" for n in range(1, count + 1)],
        "halTomogram": ["T"] * count,
        "halTomogramFile": [str(folder / "t.mrc")] * count,
        "halTomogramPixelSize": [str(SIZE)] * count,
        "halImageName": images,
        "halContrast": ["bright"] * count,
        "halLabel": labels,
        "halPredictedClass": [CLASSES[n % 3] for n in range(count)],
        "halProbability": ["0.600000"] * count,
        "halEntropy": ["0.900000"] * count,
        **{f"halAngle{name}": ["30.0"] * count for name in ("Rot", "Tilt", "Psi")},
        **{f"halPosition{axis}Angst": ["100.0"] * count for axis in "XYZ"},
    }
    return new_particles(made | columns)


def asked(folder: Path, particles: Particles, **settings: Any) -> Path:
    """The page of a random query of fifty."""
    page = PageSettings(**settings)
    result = query(
        particles, folder, strategy="random", n=ASKED, settings=QuerySettings(), page=page
    )
    assert len(result.asked) == min(ASKED, len(particles) - LABELLED)
    return folder / "labels.html"


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def saved(page: Any, folder: Path, *, star: bool = False, name: str | None = None) -> Path:
    """The file that is saved by keys: the dialog, a name, Enter, or Tab to the other button."""
    press(page, "w")
    if name is not None:
        page.keyboard.type(name)
    with page.expect_download() as download:
        press(page, *(("Tab", "Tab", "Enter") if star else ("Enter",)))
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def ids_of(page: Any) -> list[str]:
    return [str(name) for name in page.evaluate("DATA.particles.map(p => p.id)")]


def wanted_label(name: str) -> str:
    number = int(name.rsplit("/", 1)[-1])
    return "new.class-1" if number % 10 == 0 else (*CLASSES, "junk", "unknown", "skip")[number % 6]


def test_fifty_labels_by_keys_and_back(tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = asked(tmp_path / "Query", table(tmp_path))
    page = visit(path)
    keys = dict(zip((*CLASSES, "junk", "unknown", "skip"), "1230us", strict=True))
    names = ids_of(page)
    assert page.locator("#id").inner_text() == names[0]
    for place, name in enumerate(names):
        label = wanted_label(name)
        if label in keys:
            press(page, keys[label])
        else:
            press(page, "c")
            page.keyboard.type(label)
            press(page, "Enter")
        if place == 20:  # a slip of the finger, taken back
            press(page, "1", "z")
        if place == 30:
            page.reload()
            assert page.locator("#done").inner_text() == f"31 of {ASKED}"
            assert page.locator("#id").inner_text() == names[31]
            assert "31 labels restored" in page.locator("#status").inner_text()
    assert page.locator("#done").inner_text() == f"{ASKED} of {ASKED}"
    assert "All 50 particles have a label" in page.locator("#status").inner_text()
    csv_file = saved(page, tmp_path, name="Ann Otator")
    star_file = saved(page, tmp_path, star=True)
    assert [csv_file.name, star_file.name] == [
        "labels_round1_Ann_Otator.csv",
        "labels_round1_Ann_Otator.star",
    ]
    with csv_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    where = ["halTomogram", "halPositionXAngst", "halPositionYAngst", "halPositionZAngst"]
    assert list(rows[0]) == ["halParticleId", *where, "halLabel", "annotator", "time"]
    assert {row["annotator"] for row in rows} == {"Ann Otator"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["time"]) for row in rows)
    particles = read_particles([tmp_path / "Query/particles.star"])
    # picked anew: the same ids are of other particles
    elsewhere = particles.with_columns({"halPositionXAngst": ["900.0"] * len(particles)})
    for number, file in enumerate((csv_file, star_file)):
        with pytest.raises(InputError, match="the same id stands at another place"):
            label_import(elsewhere, [read_labels(file)], tmp_path / "Wrong", rules=Rules())
        result = label_import(
            particles, [read_labels(file)], tmp_path / f"Label{number}", rules=Rules()
        )
        of = dict(zip(result.particles.ids, result.particles.labels, strict=True))
        assert result.matched == ASKED
        assert [of[name] for name in names] == [wanted_label(name) for name in names]
        sources = result.particles.text("halLabelSource")
        assert list(sources).count("Ann_Otator") == ASKED
        told = {row["halParticleId"]: row["time"] for row in rows}
        assert {a.particle: a.time for a in answers_of(result.particles)} == told


@pytest.mark.parametrize("again", [False, True])
def test_the_command_takes_new_answers_where_some_are_asked_again(
    tmp_path: Path, visit: Callable[..., Any], again: bool
) -> None:
    suspects = ["ribosome" if again and n < 2 else "none" for n in range(ASKED + LABELLED)]
    doubts = ["0.1" if name != "none" else "nan" for name in suspects]
    particles = table(tmp_path, halSuspectedClass=suspects, halLabelProbability=doubts)
    query(
        particles,
        tmp_path / "Query",
        strategy="random",
        n=10,
        settings=QuerySettings(),
        relabel_fraction=0.2,
        page=PageSettings(),
    )
    page = visit(tmp_path / "Query/labels.html")
    press(page, "1", "w")
    command = page.locator("#command").inner_text()
    assert command.startswith("halcmd label-import --i ")
    assert ("--relabel" in command) == again


def test_several_are_labelled_in_the_grid(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    press(page, "g", "ArrowRight", "Space", "ArrowRight", "ArrowRight", "Space", "2")
    labels = "Object.fromEntries(Object.entries(state.answers).map(([k, a]) => [k, a.label]))"
    assert page.evaluate(labels) == {"1": "ribo", "3": "ribo"}
    press(page, "ArrowRight", "Shift+ArrowDown", "3")
    columns = page.evaluate("cells.findIndex(cell => cell.offsetTop > cells[0].offsetTop)")
    last = page.evaluate("state.current")
    assert last == 4 + columns
    assert sorted(map(int, page.evaluate(labels))) == [1, 3, *range(4, last + 1)]
    press(page, "z")
    assert page.evaluate(labels) == {"1": "ribo", "3": "ribo"}
    for _ in range(page.locator("#show option").count()):
        press(page, "o")  # around to all
    press(page, "o", "Control+a", "0")  # all without a label
    assert page.locator("#done").inner_text() == f"{ASKED} of {ASKED}"
    assert list(page.evaluate(labels).values()).count("junk") == ASKED - 2
    assert page.locator(".cell:visible").count() == 0
    press(page, "z")
    assert page.evaluate(labels) == {"1": "ribo", "3": "ribo"}
    page.locator("#show").select_option("all")
    page.locator(".cell").nth(6).click()
    page.locator(".cell").nth(9).click(modifiers=["Shift"])
    page.locator("button.class").first.click()
    assert [int(k) for k, v in page.evaluate(labels).items() if v == "apo"] == [6, 7, 8, 9]
    page.locator(".cell").nth(5).dblclick()
    assert page.locator("#place").inner_text() == f"6 of {ASKED}"


def test_a_label_goes_away_and_unsaved_ones_hold_the_page(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    path = asked(tmp_path, table(tmp_path))
    page = visit(path, dialogs=True)
    press(page, "1", "ArrowLeft", "Delete")
    assert page.locator("#done").inner_text() == f"0 of {ASKED}"
    press(page, "w")
    page.keyboard.type("Ann")
    press(page, "Enter")
    assert page.locator("#save-fault").inner_text() == "There are no labels yet."
    press(page, "Escape", "n", "2", "n", "1")
    saved(page, tmp_path)
    asks: list[str] = []
    page.on("dialog", lambda dialog: (asks.append(dialog.type), dialog.accept()))
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert asks == []
    page = visit(path, again=page.context, dialogs=True)
    page.on("dialog", lambda dialog: (asks.append(dialog.type), dialog.accept()))
    press(page, "3")
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert asks == ["beforeunload"]
    again = visit(path, again=page.context)
    for _ in range(20):  # Chromium may hand the store of a closed window over a moment later
        if again.locator("#done").inner_text() == f"3 of {ASKED}":
            break
        again.wait_for_timeout(250)
        again.reload()
    assert again.locator("#done").inner_text() == f"3 of {ASKED}"


def test_no_name_is_no_file_and_no_class_has_a_bad_name(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    for name in ("two words", "1st", "nan", "unlabelled", "=cmd", "<b>", "Ribo\u00e9"):
        press(page, "c")
        page.keyboard.type(name)
        press(page, "Enter")
        assert "cannot be a class" in page.locator("#status").inner_text()
        page.locator("#class-name").fill("")
        press(page, "Escape")
    press(page, "c")
    page.keyboard.type("RIBO")  # there is one, written otherwise
    press(page, "Enter")
    assert page.evaluate("[...classes(), state.answers[0].label]") == [*CLASSES, "ribo"]
    press(page, "w", "Enter")
    assert "A name first" in page.locator("#save-fault").inner_text()
    assert page.locator("dialog[open]").count() == 1


def test_the_pictures_follow_the_keys(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    look = "[...document.querySelectorAll('#pictures canvas')].map(c => c.toDataURL())"
    before = page.evaluate(look)
    assert len(set(before)) == 5  # three slices, projection, surroundings
    for there, back, count in (
        ("d", "D", 3),
        ("f", "F", 5),
        ("k", "K", 5),
        ("i", "i", 5),
        ("t", "t", 4),
    ):
        press(page, there)
        changed = [a != b for a, b in zip(page.evaluate(look), before, strict=True)]
        assert sum(changed) == count, there
        press(page, back)
        assert page.evaluate(look) == before
    assert page.locator(".facts").inner_text().startswith("prediction")
    assert "0.60" in page.locator(".facts").inner_text()
    press(page, "p")
    shown = page.locator(".facts").inner_text()
    assert "0.60" not in shown
    assert "entropy\nhidden" in shown
    references = look.replace("#pictures", "#classes")
    still = page.evaluate(references)
    press(page, "r")
    assert "references turned by 40°" in page.locator("#status").inner_text()
    turned = [a != b for a, b in zip(page.evaluate(references), still, strict=True)]
    assert turned == 3 * [*3 * [True], *3 * [False]]  # means turn, examples do not
    press(page, *"r" * 8)
    assert page.evaluate(references) == still
    press(page, "R")
    assert "by 320°" in page.locator("#status").inner_text()
    turns = np.reshape(page.evaluate("rotation([1, 2, 3], 1)"), (3, 3))
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    np.testing.assert_allclose(turns, Rotation.from_rotvec(axis).as_matrix(), atol=1e-12)
    # Each class: the mean in three planes and three examples.
    assert page.locator("#classes .row").count() == 3
    assert page.locator("#classes canvas").count() == 18


def test_slab_and_lowpass_begin_at_the_same_nanometres(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    assert page.evaluate("[state.view.slab, state.view.lowpass]") == [3, 0.75]
    assert page.locator("#slab-text").inner_text() == "3.0 nm"
    assert page.locator("#lowpass-text").inner_text() == "4.0 nm"
    views = page.evaluate("[0.1, 0.4, 1, 2].map(firstView).map((v) => [v.slab, v.lowpass])")
    assert views == [[9, 3], [7, 2], [3, 0.75], [3, 0.5]]


def test_black_and_white_follow_the_picture(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    ramp = "Float32Array.from({ length: 1001 }, (_, i) => i)"
    assert page.evaluate(f"rangeOf({ramp})") == [5, 995]
    page.evaluate("set('contrast', 6, 1, 10)")
    assert page.evaluate(f"rangeOf({ramp})") == [pytest.approx(104), pytest.approx(896)]
    flat, steep = page.evaluate("[rangeOf(new Float32Array(9)), rangeOf(Float32Array.of(0, 1e6))]")
    assert flat[0] < flat[1]
    assert steep[1] - steep[0] == pytest.approx(0.8e6)


def test_the_projection_is_of_the_middle_half(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    volume = np.zeros((BOX, BOX, BOX))
    volume[4:13, 2, 3] = 1.0
    volume[0:4, 2, 3] = 9.0
    plane = "(v) => [...planeOf(Float32Array.from(v), EDGE, 'projection', 1)]"
    found = np.reshape(page.evaluate(plane, volume.ravel().tolist()), (BOX, BOX))
    assert found[2, 3] == pytest.approx(1.0)
    assert found.sum() == pytest.approx(1.0)


def test_turning_is_that_of_extract(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    blob = np.exp(-((x - 3) ** 2 + (y + 1) ** 2 + (z - 2) ** 2) / 18).astype(np.float32)
    matrix = euler_matrices(np.array([[30.0, 30.0, 30.0]]))[0]
    arguments = [blob.ravel().tolist(), BOX, matrix.ravel().tolist()]
    turned = page.evaluate("([v, e, m]) => [...turned(Float32Array.from(v), e, m)]", arguments)
    wanted = crop_turned(blob, np.full(3, BOX // 2), BOX, matrix)
    inside = z**2 + y**2 + x**2 < (BOX // 2 - 1) ** 2
    difference = (np.reshape(turned, wanted.shape) - wanted)[inside]
    assert np.abs(difference).max() < 0.06  # linear against cubic interpolation
    assert np.corrcoef(np.reshape(turned, wanted.shape)[inside], wanted[inside])[0, 1] > 0.99
    np.testing.assert_allclose(page.evaluate("DATA.particles[0].turn"), matrix.ravel(), atol=1e-5)


def test_the_mouse_leaves_the_keys_to_the_particles(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    page.locator("button.class").nth(1).click()
    press(page, "ArrowRight", "2")
    page.locator("#slab").click()
    press(page, "ArrowRight", "3")
    page.locator("#to-mode").click()
    page.locator("#show").select_option("unlabelled")
    press(page, "1")
    labels = "Object.entries(state.answers).map(([k, a]) => [Number(k), a.label])"
    assert page.evaluate(labels) == [[0, "ribo"], [2, "ribo"], [4, "thermo"], [5, "apo"]]


def test_a_class_without_labels_can_be_removed(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    press(page, "c")
    page.keyboard.type("typo")
    press(page, "Enter")
    assert page.get_by_text("Remove").count() == 0
    press(page, "z")
    page.get_by_text("Remove").click()
    assert page.evaluate("classes()") == list(CLASSES)
    assert "typo" not in page.locator("#show").inner_text()


def test_a_second_window_is_noticed(tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = asked(tmp_path, table(tmp_path))
    first = visit(path)
    assert not first.locator("#alarm").is_visible()
    second = visit(path, again=first.context)
    press(second, "1")
    first.locator("#alarm").wait_for(state="visible")
    assert "another window" in first.locator("#alarm").inner_text()


def test_undo_of_many_fits_the_store(tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(asked(tmp_path, table(tmp_path)))
    press(page, "g")
    every = "[...Array(COUNT).keys()]"
    page.evaluate(f"for (let n = 0; n < 300; n++) give({every}, n % 2 ? 'apo' : 'ribo')")
    assert page.evaluate("state.steps.length") == 100  # of fifty labels each
    assert page.evaluate("localStorage.getItem(KEY).length") < 1_000_000
    press(page, "z")
    assert page.evaluate("countOf('ribo')") == ASKED


def test_each_map_is_drawn(tmp_path: Path, visit: Callable[..., Any]) -> None:
    maps = {}
    for number, name in enumerate(CLASSES):  # they differ in the middle alone
        volume = np.zeros((BOX,) * 3, np.float32)
        volume[6 : 8 + number, 6:10, 6:10] = 1
        maps[name] = tmp_path / f"{name}.mrc"
        write_volume(maps[name], volume, SIZE)
    page = visit(asked(tmp_path, table(tmp_path), maps=maps))
    second = ".row figure:nth-of-type(2) canvas"
    look = f"[...document.querySelectorAll('{second}')].map(c => c.toDataURL())"
    assert len(set(page.evaluate(look))) == 3


HOSTILE = (
    *("<script>alert(1)</script>", "</script><script>document.title='got'</script>"),
    *("=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "x\"'><img/src=x/onerror=alert(1)>"),
    *("a,b", 'quo"ted', "it's", "${alert(1)}", "{{7*7}}", "<!--", "é µ"),
)


def test_hostile_names_are_text(tmp_path: Path, visit: Callable[..., Any]) -> None:
    count = LABELLED + len(HOSTILE)
    names = [f"L/{n}" for n in range(LABELLED)] + list(HOSTILE)
    particles = table(
        tmp_path,
        count,
        halParticleId=names,
        halTomogram=names,
        halPredictedClass=names,
    )
    page = visit(asked(tmp_path / "Q", particles))
    assert not page.evaluate("DATA.classes").count(HOSTILE[0])
    press(page, *"1" * len(HOSTILE), "g", "g")
    assert page.title() == f"Label {len(HOSTILE)} particles"
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert sorted(ids_of(page)) == sorted(HOSTILE)
    for star in (False, True):
        path = saved(page, tmp_path, star=star, name=None if star else "=cmd|x")
        if not star:
            text = path.read_text()
            with path.open(newline="") as file:
                cells = [cell for row in csv.reader(file) for cell in row]
            assert [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)] == []
            assert "'=cmd|x" in text
        result = label_import(particles, [read_labels(path)], tmp_path / "L", rules=Rules())
        assert list(result.particles.labels[LABELLED:]) == ["apo"] * len(HOSTILE)
        assert set(result.particles.text("halLabelSource")[LABELLED:]) == {"=cmd|x"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_fit_a_laptop(
    tmp_path: Path, visit: Callable[..., Any], scheme: str
) -> None:
    page = visit(asked(tmp_path, table(tmp_path)), scheme)
    colours = page.evaluate(
        "['color', 'backgroundColor'].map(n => getComputedStyle(document.body)[n])"
    )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert abs(ink - paper) > 450
    assert (paper > ink) == (scheme == "light")
    for key in ("g", "g"):
        fits = "document.documentElement.scrollWidth <= innerWidth && document.body.scrollHeight"
        assert page.evaluate(f"{fits} <= innerHeight")
        press(page, key)
    assert page.locator("#pictures canvas").first.bounding_box()["width"] > 200
    assert page.evaluate(
        "[...document.querySelectorAll('button, label, dd, dt, .quiet')].filter(e =>"
        " e.offsetWidth && parseFloat(getComputedStyle(e).fontSize) < 11.5).length == 0"
    )


def test_a_thousand_particles(tmp_path: Path, visit: Callable[..., Any]) -> None:
    count, box = 1020, 24
    rng = np.random.default_rng(1)
    boxes = rng.normal(size=(count, box, box, box)).astype(np.float32)
    images = write_stack(tmp_path / "b.mrcs", iter([boxes]), count, box, pixel_size=SIZE)
    particles = table(tmp_path, count, halImageName=images)
    assert label_page(tmp_path, particles, np.arange(LABELLED, count), PageSettings())
    path = tmp_path / "labels.html"
    assert path.stat().st_size < 30_000_000
    page = visit(path)
    assert page.evaluate("[DATA.edge, COUNT]") == [box, 1000]
    press(page, "g", "End", "2", "g")
    assert page.locator("#place").inner_text() == "1000 of 1000"
    assert page.evaluate("state.answers[999].label") == "ribo"


def test_there_is_no_page_without_boxes(tmp_path: Path) -> None:
    bare = table(tmp_path).without(["halImageName"])
    assert not label_page(tmp_path, bare, np.arange(3), PageSettings())
    lost = table(tmp_path, halImageName=["1@lost.mrcs"] * (ASKED + LABELLED))
    assert not label_page(tmp_path, lost, np.arange(3), page_settings(None, None, 0))
    assert not (tmp_path / "labels.html").exists()
