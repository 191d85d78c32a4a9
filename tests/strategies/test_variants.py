"""A strategy with settings of its own in one word."""

from dataclasses import replace

import pytest

from halcmd.errors import OptionError
from halcmd.strategies import hal
from halcmd.strategies.bald import Options
from halcmd.strategies.pool import QuerySettings
from halcmd.strategies.variants import variant

USUAL = QuerySettings(preset="paper", subsets=4)


def test_what_is_not_said_stays() -> None:
    assert variant("hal", USUAL) == ("hal", replace(USUAL, options=hal.Options()))
    assert variant("margin", USUAL) == ("margin", USUAL)
    name, found = variant("hal:lambda=0:subsets=1", USUAL)
    assert name == "hal"
    assert (found.lambda_, found.subsets, found.preset) == (0.0, 1, "paper")


def test_the_papers_variants() -> None:
    assert variant("hal:discriminator=mlp", USUAL)[1].discriminator == "mlp"
    assert variant("hal:entropy-norm=log", USUAL)[1].entropy_norm == "log"
    assert variant("hal:preset=code", USUAL)[1].preset == "code"
    assert variant("dal:subsets=20", USUAL)[1].subsets == 20


def test_a_strategys_own_parameters() -> None:
    assert variant("bald:samples=20:acquisition=entropy", USUAL)[1].options == Options(
        acquisition="entropy", samples=20
    )
    explored = variant("hal:explore=0.25:subsets=8", USUAL)[1]
    assert (explored.options, explored.subsets) == (hal.Options(explore=0.25), 8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nope:a=1", "unknown strategy"),
        ("margin:subsets=4", "margin has no setting 'subsets'"),
        ("dal:lambda=1", "dal has no setting 'lambda'"),
        ("hal:subset=3", "no setting 'subset'"),
        ("hal:subsets=x", "not a whole number"),
        ("hal:subsets=0", "at least 1"),
        ("hal:lambda=nan", "at least 0"),
        ("hal:preset=pper", "unknown"),
        ("bald:samples=0", "out of range"),
        ("hal:", "no setting ''"),
    ],
)
def test_settings_that_mean_nothing_are_refused(text: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        variant(text, USUAL)
