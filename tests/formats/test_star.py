import re
from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st

from halcmd.errors import InputError
from halcmd.formats.files import read_lines, read_text
from halcmd.formats.star import Star, Table, number_of, read_star, text_of, write_star
from halcmd.formats.star_values import OnDemand

LABEL = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}", fullmatch=True)
TOKEN = st.text(
    st.characters(codec="ascii", exclude_categories=["Z", "C"], exclude_characters="\"'#;_"),
    min_size=1,
    max_size=12,
).filter(lambda text: not text.startswith(("data_", "loop_")))
PLAIN = st.sampled_from(["001", "1.23456789012345678", "[1,0,1]", "nan", "<NA>", "-0.0", "a#b"])


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@given(
    st.lists(LABEL, min_size=1, max_size=4, unique=True).flatmap(
        lambda labels: st.tuples(
            st.just(labels),
            st.lists(
                st.lists(TOKEN | PLAIN, min_size=len(labels), max_size=len(labels)),
                min_size=1,
                max_size=5,
            ),
        )
    )
)
def test_rows_come_back_digit_for_digit_beside_new_columns(tmp_path_factory, table):
    labels, rows = table
    path = tmp_path_factory.mktemp("star") / "in.star"
    head = "".join(f"_{label} #{n}\n" for n, label in enumerate(labels, 1))
    write(path, "data_particles\n\nloop_\n" + head + "\n".join(map(" ".join, rows)) + "\n")
    read = read_star(path)
    added = read.tables[0].with_columns({"halScore": [str(n) for n in range(len(rows))]})
    write_star(path, read.with_table(added))
    again = read_star(path).tables[0]
    assert again.labels == [*labels, "halScore"]
    for n, label in enumerate(labels):
        assert again.column(label) == [row[n] for row in rows]


@given(
    st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"])), min_size=1)
)
def test_any_text_survives_as_a_value(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("star") / "in.star"
    write_star(path, Star((Table.from_columns("x", {"a": values, "b": values}),)))
    back = read_star(path).tables[0].column("b")

    def plain(text: str) -> str:
        return re.sub(r"\s+", " ", text).replace("'", "`")  # both quotes in one value: ' goes

    assert list(map(plain, back)) == list(map(plain, values))


BLANKS = st.sampled_from([" ", "  ", "\t", " \t "])
QUOTED = st.sampled_from(["'a b'", '"a  b"', '""', "''", "it's", 'a"b'])
VERSION = "# version 50001"


@st.composite
def star_texts(draw: st.DrawFn) -> str:
    """A STAR file of blocks and loops, spaced in any way."""
    lines: list[str] = []
    for name in draw(st.lists(LABEL, min_size=1, max_size=3, unique=True)):
        lines += [""] * bool(lines) + draw(
            st.lists(st.sampled_from(["", " ", VERSION]), max_size=3)
        )
        lines += [f"data_{name}", *draw(st.lists(st.just(""), max_size=2))]
        labels = draw(st.lists(LABEL, min_size=1, max_size=4, unique=True))
        if draw(st.booleans()):
            lines += [f"_{label}{draw(BLANKS)}{draw(PLAIN | QUOTED)}" for label in labels]
            continue
        numbered = draw(st.booleans())
        lines += ["loop_", *(f"_{label}{f' #{n}' * numbered}" for n, label in enumerate(labels, 1))]
        value = TOKEN | PLAIN | QUOTED
        rows = st.lists(value, min_size=len(labels), max_size=len(labels))
        for row in draw(st.lists(rows, max_size=4)):
            words = "".join(draw(BLANKS) + word for word in row)
            lines.append(words.lstrip() * draw(st.booleans()) or words + draw(st.just("") | BLANKS))
    lines += draw(st.lists(st.sampled_from(["", " ", "# the end"]), max_size=3))
    return "\n".join(lines) + "\n"


@given(star_texts())
def test_a_file_that_is_not_changed_comes_back_byte_for_byte(tmp_path_factory, text):
    path = write(tmp_path_factory.mktemp("star") / "in.star", text)
    out = path.with_name("out.star")
    write_star(out, read_star(path))
    assert out.read_bytes() == path.read_bytes()


def with_columns_everywhere(star: Star, value: str) -> Star:
    for table in star.tables:
        added = {"halLabel": [value] * len(table), "halScore": ["0.5"] * len(table)}
        star = star.with_table(table.with_columns(added))
    return star


def without_columns(path: Path) -> list[str]:
    """The lines of a file without the two added columns, as a person would cut them away."""
    lines = []
    loop = False
    for line in path.read_text().split("\n"):
        loop = line.strip() == "loop_" or (loop and not line.strip().startswith("data_"))
        if line.startswith(("_halLabel", "_halScore")):
            continue
        if loop and line.strip() and line.strip() != "loop_" and line.strip()[0] not in "_#":
            assert line.endswith(" ribosome 0.5")
            line = line.removesuffix("ribosome 0.5")
        lines.append(line.rstrip())
    return lines


def stripped(path: Path) -> list[str]:
    return [line.rstrip() for line in path.read_text().split("\n")]


def test_real_files_keep_each_byte_beside_added_columns(shared, tmp_path):
    files = sorted((shared / "star").glob("*.star")) + sorted((shared / "star").glob("*.cbox"))
    assert len(files) > 20
    for file in files:
        out, changed = tmp_path / "out.star", tmp_path / "changed.star"
        write_star(out, read_star(file))
        original = file.read_bytes()
        assert out.read_bytes() == original + b"\n" * (not original.endswith(b"\n")), file.name
        write_star(changed, with_columns_everywhere(read_star(file), "ribosome"))
        assert without_columns(changed) == stripped(out), file.name
        # A second round replaces the columns, and again touches nothing else.
        write_star(out, with_columns_everywhere(read_star(changed), "junk"))
        write_star(out, with_columns_everywhere(read_star(out), "ribosome"))
        assert stripped(out) == stripped(changed), file.name


def test_columns_in_the_middle_go_without_a_trace(tmp_path):
    text = "data_\n\nloop_\n_a #1\n_halX #2\n_b #3\n 01\t9  'x y' \n02  8\tz\n"
    path = write(tmp_path / "in.star", text)
    write_star(path, Star((read_star(path).tables[0].without(["halX"]),)))
    assert path.read_text() == "data_\n\nloop_\n_a #1\n_b #2\n 01  'x y'\n02\tz\n"


def test_a_loop_is_ended_by_an_empty_line_since_relion_needs_one(tmp_path):
    path = write(tmp_path / "in.star", "data_a\nloop_\n_x\n1\ndata_b\n_y 2\n")
    write_star(path, read_star(path))
    assert path.read_text() == "data_a\nloop_\n_x\n1\n\ndata_b\n_y 2\n"


def test_a_row_may_begin_like_a_line_of_structure(tmp_path):
    text = "data_\nloop_\n_a #1\n_b #2\ndata_1.mrc 1\nloop_2.mrc 2\n_3.mrc 3\n"
    table = read_star(write(tmp_path / "in.star", text)).tables[0]
    assert table.column("a") == ["data_1.mrc", "loop_2.mrc", "_3.mrc"]


def test_values_agree_with_the_starfile_package(shared):
    for name in ("r31_refined_hiv.star", "r50_polish_particles.star", "warp2_matching.star"):
        path = shared / "star" / name
        theirs = starfile.read(path, always_dict=True, parse_as_string=["rlnTomoName"])
        ours = read_star(path)
        assert [table.name for table in ours.tables] == list(theirs)
        table, frame = ours.table("particles"), theirs["particles"]
        assert table is not None
        assert table.labels == list(frame.columns)
        for label in table.labels:
            if frame[label].dtype.kind == "f":
                numbers = [number_of(text) for text in table.column(label)]
                assert numbers == pytest.approx(frame[label].tolist(), nan_ok=True)
            elif frame[label].dtype.kind != "i":
                assert table.column(label) == [str(value) for value in frame[label]]


def test_our_files_are_read_by_the_starfile_package(tmp_path):
    path = tmp_path / "out.star"
    table = Table.from_columns("particles", {"rlnTomoName": ["001", "002"], "halScore": [0.5, 1.5]})
    write_star(path, Star((Table.from_columns("optics", {"rlnVoltage": [300.0]}), table)))
    frames = starfile.read(path, always_dict=True, parse_as_string=["rlnTomoName"])
    assert frames["particles"]["rlnTomoName"].tolist() == ["001", "002"]
    assert frames["particles"]["halScore"].tolist() == [0.5, 1.5]


def test_key_value_blocks_comments_and_foreign_blocks_stay(tmp_path):
    general = "# version 50001\n\ndata_general\n\n_rlnA 1\n_rlnB ''\n\n"
    text = general + "# version 50001\n\ndata_x\n\nloop_\n_a #1\n1\n2\n# end\n"
    path = write(tmp_path / "in.star", text)
    star = read_star(path)
    assert star.tables[0].column("rlnB") == [""]
    assert star.tables[1].column("a") == ["1", "2"]
    write_star(path, star)
    assert path.read_text().count("# version 50001") == 2
    assert path.read_text().rstrip().endswith("# end")


def test_crlf_and_byte_order_mark_are_read_and_lf_is_written(tmp_path):
    path = write(tmp_path / "in.star", "\ufeffdata_\r\n\r\nloop_\r\n_a #1\r\n1 \r\n\r\n")
    star = read_star(path)
    assert star.tables[0].column("a") == ["1"]
    write_star(path, star)
    assert b"\r" not in path.read_bytes()


def test_a_column_is_replaced_and_dropped_without_touching_the_others(tmp_path):
    path = write(tmp_path / "in.star", "data_\nloop_\n_a\n_halX\n_b\n01 9 'x y'\n02 8 z\n")
    table = read_star(path).tables[0].with_columns({"halX": ["7", "6"]})
    assert table.labels == ["a", "b", "halX"]
    write_star(path, Star((table.without(["b"]).take([1]),)))
    again = read_star(path).tables[0]
    assert (again.labels, again.column("a"), again.column("halX")) == (["a", "halX"], ["02"], ["6"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no STAR file"),
        ("x,y,z\n1,2,3\n", "no STAR file"),
        ("data_\nloop_\n_a #1\n_b #2\n1 2\n3\n", "1 values for 2 columns"),
        ("data_\nloop_\n_a #1\n_a #2\n1 2\n", "stands twice"),
        ("data_a\n_x 1\ndata_a\n_x 1\n", "stands twice"),
        ("data_a\n1 2 3\n", "before loop_"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path, text, message):
    path = write(tmp_path / "in.star", text)
    with pytest.raises(InputError, match=message) as error:
        read_star(path)
    assert "in.star" in str(error.value.where)


def test_a_missing_column_suggests_the_near_one(tmp_path):
    path = write(tmp_path / "in.star", "data_\nloop_\n_rlnTomoName\n1\n")
    with pytest.raises(InputError) as error:
        read_star(path).tables[0].column("rlnTomoNames")
    assert error.value.hint == "did you mean rlnTomoName?"


def test_numbers_are_written_with_fixed_decimals():
    assert text_of([1.0, -0.0001, float("nan"), 2.5], 2) == ["1.00", "0.00", "nan", "2.50"]


def test_columns_on_demand_are_written_like_others(tmp_path):
    count = 20_000
    numbers = np.random.default_rng(1).normal(size=count)
    made: list[int] = []

    def make(rows: slice) -> list[str]:
        texts = text_of(numbers[rows], 4)
        made.append(len(texts))
        return texts

    table = Table.from_columns("x", {"a": map(str, range(count))})
    lazy = table.with_columns({"b": OnDemand(count, make), "c": ["two words"] * count})
    eager = table.with_columns({"b": text_of(numbers, 4), "c": ["two words"] * count})
    write_star(tmp_path / "lazy.star", Star((lazy,)))
    write_star(tmp_path / "eager.star", Star((eager,)))
    assert (tmp_path / "lazy.star").read_bytes() == (tmp_path / "eager.star").read_bytes()
    assert max(made) < count
    assert lazy.column("b") == list(lazy.each("b")) == eager.column("b")
    assert lazy.take([7, 3]).column("b") == eager.take([7, 3]).column("b")
    assert lazy.some("b", slice(5, 9)) == eager.column("b")[5:9]
    with pytest.raises(InputError, match="column d is missing"):
        lazy.each("d")


def test_values_on_demand_are_a_sequence():
    values = OnDemand(5, lambda rows: [str(n) for n in range(5)[rows]])
    assert list(values) == ["0", "1", "2", "3", "4"]
    assert (values[1], values[-1], values[1:3], len(values)) == ("1", "4", ["1", "2"], 5)
    with pytest.raises(IndexError):
        values[5]


@pytest.mark.parametrize(
    "text", ["", "a", "a\n", "a\n\n", "\ufeffa\r\nb\rc\n", "a\x0bb\x85c\u2028d\n", "\r\n\n"]
)
def test_lines_are_those_of_the_whole_text(tmp_path, text):
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    assert read_lines(path) == read_text(path).split("\n")
