"""Damaged files of picks: a clear error, or every row; never a traceback, never fewer rows."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halcmd.errors import HalcmdError
from halcmd.intake.read import read_picks
from halcmd.picks.picks import Picks

XYZ = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n"
OPTICS = """# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnTomoTiltSeriesPixelSize #3
_rlnImagePixelSize #4
1 300.0 1.35 2.70
2 300.0 1.35 2.70

"""
WHOLE = {
    "relion4": OPTICS
    + f"# version 30001\n\ndata_particles\n\nloop_\n{XYZ}_rlnTomoName #4\n_rlnOpticsGroup #5\n"
    "_rlnOriginXAngst #6\n_rlnTomoVisibleFrames #7\n"
    + "".join(f"{n}.5 20.25 {n}e1 TS_0{n} {1 + n % 2} -0.5 [1,0,1]\n" for n in range(1, 8)),
    "relion30": f"data_\n\nloop_\n{XYZ}_rlnMicrographName #4\n_rlnDetectorPixelSize #5\n"
    "_rlnMagnification #6\n" + "".join(f"{n} {n} {n} 'a b{n}.mrc' 10 10000\n" for n in range(9)),
    "csv": "x,y,z,tomogram,score\n"
    + "".join(f"{n},{n + 1},{n + 2},T{n},0.{n}\n" for n in range(9)),
}


def rows_of(text: str) -> int:
    """Lines that are rows of a table, by a rule of thumb that shares nothing with the reader."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    if not any(line.startswith("data_") for line in lines):
        kept = [line for line in lines if line and not line.startswith("#")]
        return len(kept) - (not kept[0].split(",")[0].strip().lstrip("+-")[:1].isdigit())
    structure = ("data_", "loop_", "_", "#")
    return sum(bool(line) and not line.startswith(structure) for line in lines)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(sorted(WHOLE.values())))
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(
            st.sampled_from(["cut", "swap", "twice", "drop", "type", "put", "long", "block"])
        )
        if kind == "cut":
            text = text[: draw(st.integers(0, len(text)))]
            continue
        if kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "twice":
            lines.insert(at, lines[at])
        elif kind == "drop":
            del lines[at]
        elif kind == "type":
            words = lines[at].split(" ")
            word = draw(
                st.sampled_from(["x", "", "nan", "1,5", "1e400", "-", '"', "<NA>", "\u00e4"])
            )
            words[draw(st.integers(0, len(words) - 1))] = word
            lines[at] = " ".join(words)
        elif kind == "put":
            lines[at] += draw(st.text(max_size=5))
        elif kind == "long":
            lines.insert(at, "9" * 100_000)
        else:
            lines.insert(
                at, draw(st.sampled_from(["data_", "data_particles", "loop_", "_rlnX #9"]))
            )
        text = "\n".join(lines)
    codec = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    ends = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return text.replace("\n", ends).encode(codec, errors="replace")


def read_or_error(path: Path) -> Picks | HalcmdError:
    try:
        return read_picks([path])[0]
    except HalcmdError as error:
        return error


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damaged())
def test_a_damaged_file_is_refused_or_read_whole(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.star"
    path.write_bytes(data)
    picks = read_or_error(path)
    if isinstance(picks, HalcmdError):
        assert picks.where is not None
        assert picks.message
        return
    codec = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    tables = picks.particles.star.tables
    assert sum(len(table) for table in tables if table.loop) == rows_of(data.decode(codec))
    assert len(picks.coordinates) == len(picks.tomograms) == len(picks.particles)


@pytest.mark.parametrize("name", WHOLE)
def test_the_undamaged_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "p").write_text(WHOLE[name])
    (picks,) = read_picks([tmp_path / "p"])
    assert picks.producer == name


def test_a_second_table_of_picks_is_not_passed_over(tmp_path: Path) -> None:
    again = WHOLE["relion4"].replace("data_optics", "data_optics2").replace("ticles\n", "ticles2\n")
    (tmp_path / "p.star").write_text(WHOLE["relion4"] + "\n" + again)
    with pytest.raises(HalcmdError, match="several tables of this STAR file hold picks"):
        read_picks([tmp_path / "p.star"])


def test_a_star_file_in_utf_16_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.star").write_text(WHOLE["relion4"], encoding="utf-16")
    with pytest.raises(HalcmdError, match="must be encoded as UTF-8"):
        read_picks([tmp_path / "p.star"])
