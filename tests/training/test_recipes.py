import pytest

from halcmd.training.recipes import PRESETS, Changes, learning_rate, recipe, steps_per_epoch


def test_the_code_preset_is_what_the_authors_program_does():
    made = recipe("code", 800)
    assert (made.network, made.learning_rate, made.batch) == ("hal2021", 1e-4, 128)
    assert (made.augment, made.class_weights, made.weight_decay) == ("none", "none", 0.0)
    assert made.steps == 200 * 7
    assert (made.best_by, made.best_after, made.evaluate_every) == ("accuracy", 50 * 7, 7)
    assert (made.patience, made.one_cycle) == (0, False)


def test_the_paper_preset_differs_in_its_learning_rate():
    assert recipe("paper", 800).learning_rate == 1e-3


def test_a_batch_of_the_2021_presets_is_never_larger_than_the_training_set():
    assert recipe("code", 54).batch == 54


@pytest.mark.parametrize("preset", PRESETS)
def test_changes_replace_what_the_preset_says(preset):
    changes = Changes(steps=10, batch=16, learning_rate=0.5, augment="flips", dropout=0.1)
    made = recipe(preset, 100, changes=changes)
    assert (made.steps, made.batch, made.learning_rate) == (10, 16, 0.5)
    assert (made.augment, made.dropout) == ("flips", 0.1)
    assert made.best_after < made.steps


def test_the_default_learning_rate_goes_by_the_network():
    large = recipe("default", 100)
    small = recipe("default", 100, changes=Changes(network="hal2021"))
    assert small.network == "hal2021"
    assert small.learning_rate < large.learning_rate


def test_zero_is_a_value():
    made = recipe("default", 100, changes=Changes(patience=0, dropout=0.0, weight_decay=0.0))
    assert (made.patience, made.dropout, made.weight_decay) == (0, 0.0, 0.0)


def test_epochs_win_over_steps():
    made = recipe("default", 100, changes=Changes(steps=10, epochs=3, batch=32))
    assert made.steps == 3 * steps_per_epoch(100, 32) == 12


def test_more_labels_get_more_steps_up_to_a_limit():
    steps = [recipe("default", count).steps for count in (20, 200, 2000, 200_000)]
    assert steps == sorted(steps)
    assert steps[-1] <= 4000


def test_one_cycle_rises_then_falls_to_nothing():
    made = recipe("default", 100, changes=Changes(steps=100, learning_rate=1.0))
    rates = [learning_rate(made, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_the_2021_presets_keep_their_rate():
    made = recipe("code", 100)
    assert {learning_rate(made, step) for step in range(200)} == {1e-4}


def test_unlabelled_particles_are_learnt_from_where_labels_are_few_but_not_as_in_2021():
    assert recipe("default", 199).consistency is not None
    assert recipe("default", 160, n_labelled=200).consistency is None
    on = recipe("default", 200, changes=Changes(semi_supervised=True))
    assert on.consistency is not None
    assert recipe("code", 100).consistency is None
    off = recipe("default", 100, changes=Changes(semi_supervised=False))
    assert (off.consistency, off.average) == (None, 0.99)


def test_learning_from_unlabelled_particles_needs_an_average():
    made = recipe("code", 100, changes=Changes(semi_supervised=True))
    assert made.consistency is not None
    assert made.average == 0.99
