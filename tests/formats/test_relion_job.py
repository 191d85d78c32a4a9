import os
import time
import tomllib
from pathlib import Path

import pytest

from halcmd.errors import Aborted, InputError
from halcmd.formats import relion_job
from halcmd.formats.files import TEMPORARY
from halcmd.formats.star import read_star


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    assert relion_job.prepare(tmp_path / "a" / "b")
    assert not relion_job.prepare(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_stale_markers_go(tmp_path):
    for outcome in ("success", "failure", "aborted"):
        relion_job.mark(tmp_path, outcome)
    assert relion_job.is_marked(tmp_path)
    relion_job.prepare(tmp_path)
    assert not relion_job.is_marked(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_abort_request_is_seen_and_answered(tmp_path):
    relion_job.stop_if_asked(tmp_path)
    (tmp_path / "RELION_JOB_ABORT_NOW").touch()
    with pytest.raises(Aborted) as error:
        relion_job.stop_if_asked(tmp_path)
    assert error.value.exit_code == 4
    relion_job.mark(tmp_path, "aborted")
    assert [path.name for path in tmp_path.iterdir()] == ["RELION_JOB_EXIT_ABORTED"]


@pytest.mark.parametrize("name", relion_job.OUTPUTS)
def test_each_output_is_in_the_way(tmp_path, name):
    relion_job.check_free(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="earlier run") as error:
        relion_job.check_free(tmp_path)
    assert error.value.found == name
    assert "--overwrite" in str(error.value.hint)
    assert ("--resume" in str(error.value.hint)) == (name in relion_job.RESUMABLE)


def test_what_relion_writes_is_not_in_the_way(tmp_path):
    for name in (
        "run.out",
        "run.err",
        "note.txt",
        "job.star",
        "default_pipeline.star",
        "job_pipeline.star",
    ):
        (tmp_path / name).touch()
    relion_job.check_free(tmp_path)


def test_inputs_must_stand_apart(in_tmp):
    Path("job/Subtomograms").mkdir(parents=True)
    apart = [Path("other/particles.star"), Path("job/mine.star"), Path("job"), Path("jobs")]
    relion_job.check_apart(Path("job"), apart)
    for path in ("job/particles.star", "job/../job/query.csv", "job/Subtomograms/a.mrc"):
        with pytest.raises(InputError, match="input stands in the output folder"):
            relion_job.check_apart(Path("./job/"), [Path("other.star"), Path(path).absolute()])


def test_output_nodes_name_the_tables_that_are_there(in_tmp):
    job = Path("External/job001")
    job.mkdir(parents=True)
    (job / "particles.star").touch()
    (job / "query.star").touch()
    relion_job.write_output_nodes(job)
    table = read_star(job / "RELION_OUTPUT_NODES.star").table("output_nodes")
    assert table is not None
    assert table.labels == [
        "rlnPipeLineNodeName",
        "rlnPipeLineNodeType",
        "rlnPipeLineNodeTypeLabel",
    ]
    names = ["External/job001/particles.star", "External/job001/query.star"]
    assert table.column("rlnPipeLineNodeName") == names
    assert set(table.column("rlnPipeLineNodeType")) == {"3"}


def test_settings_are_toml_under_the_name_of_the_step(tmp_path):
    relion_job.write_settings(tmp_path, "label-import", {"labels": ["a"], "round": 2, "as": "keep"})
    settings = tomllib.loads((tmp_path / "settings.toml").read_text())
    assert settings == {"label-import": {"labels": ["a"], "round": 2, "as": "keep"}}


def test_only_older_outputs_are_removed(tmp_path):
    old = time.time() - 50
    for name in ("query.csv", "mine.txt", "Subtomograms/a.mrcs", "Tomograms/a.mrc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (old, old))
    start = relion_job.file_time(tmp_path)
    (tmp_path / "particles.star").touch()
    (tmp_path / "Subtomograms" / "b.mrcs").touch()
    relion_job.remove_stale(tmp_path, start)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["Subtomograms", "Subtomograms/b.mrcs", "mine.txt", "particles.star"]


def test_a_folder_with_nothing_but_its_log_is_discarded(tmp_path):
    for extra, stays in (((), False), (("particles.star",), True)):
        folder = tmp_path / "job"
        folder.mkdir()
        for name in (relion_job.RUN_LOG, relion_job.SETTINGS, *extra):
            (folder / name).touch()
        relion_job.discard(folder)
        assert folder.exists() == stays


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / "Subtomograms").mkdir()
    for place in (tmp_path, tmp_path / "Subtomograms"):
        (place / f"{TEMPORARY}TS_01-abc.mrcs").touch()
    other_job = tmp_path / "Score1" / f"{TEMPORARY}embedding-abc.npy"
    other_job.parent.mkdir()
    other_job.touch()
    relion_job.prepare(tmp_path)
    left = sorted(str(item.relative_to(tmp_path)) for item in tmp_path.rglob("*"))
    assert left == ["Score1", f"Score1/{other_job.name}", "Subtomograms"]


def test_what_a_failed_run_has_written_is_removed_but_not_its_checkpoint(tmp_path):
    (tmp_path / "Subtomograms").mkdir()
    (tmp_path / "particles.star").write_text("of an earlier run")
    os.utime(tmp_path / "particles.star", (1, 1))
    for name in ("dropped.star", relion_job.CHECKPOINT, "Subtomograms/TS_01.mrcs", "mine.txt"):
        (tmp_path / name).touch()
    relion_job.remove_written(tmp_path, since=2.0)
    left = sorted(item.name for item in tmp_path.rglob("*"))
    assert left == [relion_job.CHECKPOINT, "mine.txt", "particles.star"]
