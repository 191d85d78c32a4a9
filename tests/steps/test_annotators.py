"""Several annotators and rounds: all answers are kept, votes are counted, classes are renamed."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from halcmd.console import log
from halcmd.errors import InputError
from halcmd.formats.star import read_star
from halcmd.intake.labels import read_labels, read_renames
from halcmd.labels.annotations import BLOCK, answers_of
from halcmd.particles import Particles, new_particles
from halcmd.steps.label_import import LabelImportResult, Rules, label_import, rename_labels
from halcmd.tables import join, read_particles, write_particles

VOTE = Rules(conflict="majority", relabel=True)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log.propagate = True
    caplog.set_level(logging.INFO, logger="halcmd")
    yield
    log.propagate = False


def table(count: int = 4, **columns: Sequence[object]) -> Particles:
    ids = [f"T/{n:06d}" for n in range(1, count + 1)]
    return new_particles({"halParticleId": ids, **columns})


def labelled(
    particles: Particles, folder: Path, who: str, labels: str, rules: Rules | None = None
) -> LabelImportResult:
    """Import the labels of the first particles, separated by blanks; ``-`` = no answer."""
    rows = [
        f"T/{n:06d},{'' if label == '-' else label}" for n, label in enumerate(labels.split(), 1)
    ]
    path = folder / f"{who}.csv"
    path.write_text("\n".join(["halParticleId,halLabel", *rows]))
    return label_import(
        particles, [read_labels(path)], folder, rules=rules or Rules(), annotator=who
    )


def history(particles: Particles, name: str) -> list[tuple[str, str, str, str]]:
    return [
        (answer.annotator, answer.label, answer.round, answer.file)
        for answer in answers_of(particles)
        if answer.particle == name
    ]


def test_every_answer_is_kept_in_the_order_it_came(tmp_path: Path) -> None:
    first = labelled(table(), tmp_path, "anna", "apo apo - -").particles
    second = labelled(first, tmp_path, "anna", "holo apo - -", Rules(relabel=True)).particles
    written = read_particles([tmp_path / "particles.star"])
    assert history(written, "T/000001") == [
        ("anna", "apo", "1", "anna.csv"),
        ("anna", "holo", "2", "anna.csv"),
    ]
    assert history(written, "T/000002") == [
        ("anna", "apo", "1", "anna.csv"),
        ("anna", "apo", "2", "anna.csv"),
    ]
    assert history(written, "T/000003") == []
    before, after = (answers_of(particles) for particles in (first, second))
    assert after[: len(before)] == before, "the block only grows"


def test_a_label_from_before_the_block_is_not_lost(tmp_path: Path) -> None:
    old = table(
        halLabel=["apo", "apo", "unlabelled", "unlabelled"],
        halLabelSource=["old.csv", "old.csv", "none", "none"],
        halLabelRound=["3", "3", "0", "0"],
    )
    new = labelled(old, tmp_path, "anna", "holo - - apo", Rules(relabel=True)).particles
    assert history(new, "T/000001") == [
        ("old.csv", "apo", "3", "none"),
        ("anna", "holo", "4", "anna.csv"),
    ]
    assert history(new, "T/000002") == [], "what the import does not touch needs no copy"


def test_the_majority_counts_answers_of_earlier_imports(tmp_path: Path) -> None:
    one = labelled(table(), tmp_path, "anna", "apo apo apo -").particles
    two = labelled(one, tmp_path, "ben", "holo apo holo -", Rules(conflict="majority"))
    assert two.particles.labels.tolist()[:3] == ["apo"] * 3, "of as many votes the earlier holds"
    assert (two.conflicting, two.changed) == (2, 0)
    with pytest.raises(InputError, match="would change") as error:
        labelled(two.particles, tmp_path, "cleo", "holo apo apo -", Rules(conflict="majority"))
    assert "--conflict majority" in str(error.value.hint)
    three = labelled(two.particles, tmp_path, "cleo", "holo apo apo -", VOTE)
    assert three.particles.labels.tolist() == ["holo", "apo", "apo", "unlabelled"]
    assert three.changed == 1
    # who answers anew takes the own vote back
    four = labelled(three.particles, tmp_path, "cleo", "apo - - -", VOTE)
    assert four.particles.labels[0] == "apo"


def test_agreement_is_written_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = labelled(table(), tmp_path, "anna", "apo apo holo holo").particles
    assert not (tmp_path / "agreement.star").exists()
    two = labelled(one, tmp_path, "ben", "apo holo holo holo", Rules(conflict="majority"))
    found = two.summary()["agreement"]
    assert found == {
        "pairs": [
            {"first": "anna", "second": "ben", "particles": 4, "agreement": 0.75, "kappa": 0.5}
        ],
        "particles": 4,
        "fleiss": None,
        "disputed": 1,
    }
    assert "4 particles in common, the same answer for 75%, Cohen's kappa 0.50" in caplog.text
    star = read_star(tmp_path / "agreement.star")
    disputed = star.table("disputed")
    assert disputed is not None
    assert disputed.column("halParticleId") == ["T/000002"]
    assert disputed.column("halAnswers") == ["anna=apo,ben=holo"]
    assert disputed.column("halLabel") == ["apo"]
    labelled(two.particles, tmp_path, "cleo", "apo apo holo holo", VOTE)
    everyone = read_star(tmp_path / "agreement.star").table("all")
    assert everyone is not None
    assert everyone.column("halAnnotators") == ["3"]
    assert "Fleiss' kappa" in caplog.text


def test_an_answer_settles_the_doubts_of_train(tmp_path: Path) -> None:
    doubted = table(
        halLabel=["apo", "apo", "holo", "unlabelled"],
        halSuspectedClass=["holo", "holo", "apo", "none"],
        halLabelProbability=["0.1", "0.2", "0.3", "nan"],
    )
    after = labelled(doubted, tmp_path, "anna", "apo holo - -", Rules(relabel=True)).particles
    assert after.text("halSuspectedClass").tolist() == ["none", "none", "apo", "none"]
    assert after.text("halLabelProbability").tolist() == ["nan", "nan", "0.3", "nan"]


def test_classes_of_the_table_are_renamed_and_merged(tmp_path: Path) -> None:
    one = labelled(table(), tmp_path, "anna", "apo holo 70S -".replace("70S", "ribo")).particles
    two = labelled(one, tmp_path, "ben", "holo holo - -", Rules(conflict="majority")).particles
    (tmp_path / "names.csv").write_text("old,new\napo,proteasome\nholo,proteasome\n")
    renames = read_renames(tmp_path / "names.csv")
    result = rename_labels(two, tmp_path, renames=renames, file=tmp_path / "names.csv")
    after = read_particles([tmp_path / "particles.star"])
    assert after.labels.tolist() == ["proteasome", "proteasome", "ribo", "unlabelled"]
    assert (result.changed, result.labels) == (2, {"proteasome": 2})
    for name in ("halParticleId", "halLabelSource", "halLabelRound"):
        assert after.text(name).tolist() == two.text(name).tolist(), "identity is untouched"
    numbers = after.class_numbers()
    assert {name: numbers[name] for name in two.class_numbers()} == two.class_numbers()
    assert numbers["proteasome"] == 4, "a new number; old ones are never used again"
    assert history(after, "T/000001") == [
        ("anna", "apo", "1", "anna.csv"),
        ("ben", "holo", "2", "ben.csv"),
        ("anna", "proteasome", "1", "names.csv"),
        ("ben", "proteasome", "2", "names.csv"),
    ]
    # a third opinion meets votes of the classes as they are now
    third = labelled(after, tmp_path, "cleo", "ribo - - -", VOTE)
    assert third.particles.labels[0] == "proteasome"


def test_names_may_be_swapped(tmp_path: Path) -> None:
    particles = table(2, halLabel=["apo", "holo"], halSuspectedClass=["holo", "none"])
    file = tmp_path / "names.csv"
    result = rename_labels(particles, tmp_path, renames={"apo": "holo", "holo": "apo"}, file=file)
    assert result.particles.labels.tolist() == ["holo", "apo"]
    assert result.particles.text("halSuspectedClass").tolist() == ["apo", "none"]


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ({"ribo": "ribosome"}, "no label of the table is called so"),
        ({"apo": "70S"}, "may not be called so"),
        ({"apo": "unlabelled"}, "may not be called so"),
    ],
)
def test_names_that_cannot_be_changed_stop(
    tmp_path: Path, renames: dict[str, str], message: str
) -> None:
    particles = table(2, halLabel=["apo", "holo"])
    with pytest.raises(InputError, match=message):
        rename_labels(particles, tmp_path, renames=renames, file=tmp_path / "names.csv")
    assert not (tmp_path / "particles.star").exists()


def test_joined_tables_keep_the_answers_of_both(tmp_path: Path) -> None:
    one = labelled(table(), tmp_path, "anna", "apo apo apo holo").particles
    other = new_particles({"halParticleId": [f"U/{n:06d}" for n in range(1, 5)]})
    path = tmp_path / "ben.csv"
    path.write_text("halParticleId,halLabel\nU/000001,apo\n")
    two = label_import(other, [read_labels(path)], tmp_path, rules=Rules()).particles
    both = join([one, two])
    assert [answer.particle for answer in answers_of(both)] == [
        *(f"T/{n:06d}" for n in range(1, 5)),
        "U/000001",
    ]


def test_the_block_survives_other_blocks_and_another_reading(tmp_path: Path) -> None:
    one = labelled(table(), tmp_path, "anna b", "apo - - -").particles
    write_particles(tmp_path / "again.star", one)
    block = read_star(tmp_path / "again.star").table(BLOCK)
    assert block is not None
    assert block.column("halLabelSource") == ["anna_b"]
