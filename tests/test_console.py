import pytest

from halcmd import console
from halcmd.errors import DataError, DryRun, InputError, did_you_mean, first_few


def test_without_a_terminal_progress_is_one_plain_line_per_ten_percent(capsys):
    console.configure()
    with console.progress("scoring", 1000) as advance:
        for _ in range(1000):
            advance(1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("%")[0].split()[-1] for line in lines] == [
        str(n) for n in range(10, 101, 10)
    ]
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_slow_work_says_something_every_thirty_seconds(capsys, monkeypatch):
    console.configure()
    clock = iter(range(0, 100_000, 40))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.progress("scoring", 1_000_000) as advance:
        advance(1)
    assert "s left" in capsys.readouterr().out


def test_warnings_go_to_stderr_and_the_rest_to_stdout(capsys):
    console.configure()
    console.log.info("hello")
    console.log.warning("careful")
    out, err = capsys.readouterr()
    assert (out, err) == ("hello\n", "WARNING: careful\n")
    assert console.warnings() == ["careful"]


def test_under_json_the_log_leaves_stdout_free(capsys):
    console.configure(json_output=True)
    console.log.info("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_strict_turns_a_warning_into_an_error():
    console.configure(strict=True)
    with pytest.raises(DataError, match="careful"):
        console.log.warning("careful")


def test_a_dry_run_ends_where_the_work_would_begin(capsys):
    console.configure(dry_run=True)
    with pytest.raises(DryRun):
        console.planned("would train")
    console.configure()
    console.planned("will train")


def test_the_log_file_has_times_and_is_written_whatever_the_verbosity(tmp_path, capsys):
    console.configure(verbosity=-1)
    console.add_log_file(tmp_path / "run.log")
    console.log.info("detail")
    console.configure()
    assert "INFO detail" in (tmp_path / "run.log").read_text()
    assert capsys.readouterr() == ("", "")


def test_progress_asks_whether_to_stop():
    console.configure()

    def stop() -> None:
        raise KeyboardInterrupt

    console.poll_with(stop)
    with pytest.raises(KeyboardInterrupt), console.progress("x", 10):
        pass


def test_an_error_says_what_where_what_was_found_and_what_to_do():
    error = InputError("no pixel size", where="a.star, row 2", found="0", hint="--angpix 10")
    assert error.render().splitlines() == [
        "no pixel size",
        "  file   a.star, row 2",
        "  found  0",
        "  try    --angpix 10",
    ]
    assert did_you_mean("rlnTomName", ["rlnTomoName", "x"]) == "did you mean rlnTomoName?"
    assert did_you_mean("qq", ["a", "b"]) == "one of a, b"
    assert first_few(["a", "b", "c", "d"]) == "4 (a, b, c, ...)"
