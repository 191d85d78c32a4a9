"""How a network is fitted: the default recipe and the two of Du et al. 2021."""

import math
from dataclasses import dataclass, replace

PRESETS = ("default", "paper", "code")

_WARM_UP = 0.1
_EPOCHS_OF_2021 = 200
_UNKEPT_EPOCHS_OF_2021 = 50


@dataclass(frozen=True)
class Consistency:
    """How unlabelled particles are learnt from.

    Attributes
    ----------
    weight : float
        Of their loss beside that of the labelled ones.
    per_labelled : int
        Unlabelled particles per labelled one in a step.
    start : float
        Share of the steps after which they come in, when the network knows something.
    earliest : int
        Step before which they never come in: with 80 steps in all and unlabelled particles from the
        eighth on, two of three classes of real particles became one.
    """

    weight: float = 1.0
    per_labelled: int = 2
    start: float = 0.1
    earliest: int = 100

    def first_step(self, steps: int) -> int:
        """The step, counted from 0, of so many in which they come in."""
        return max(round(self.start * steps), self.earliest)


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted.

    Attributes
    ----------
    network : str
        A key of ``halcmd.networks.NETWORKS``.
    steps : int
        Optimiser steps.
    batch : int
        Particles per step.
    learning_rate, weight_decay : float
        Of AdamW; with no weight decay that is Adam.
    one_cycle : bool
        Learning rate rises over the first tenth and falls to zero along a cosine; else constant.
    label_smoothing : float
        Share of the target that is spread over all classes.
    augment : str
        ``full``, ``flips`` or ``none``.
    class_weights : str
        ``balanced``: each batch holds as many particles of each class; ``none``: as they come.
    evaluate_every : int
        Steps between two looks at the validation particles.
    patience : int
        Looks without a better one before training stops, in the second half; 0 = never.
    dropout : float or None
        Share of units dropped; None = the network's own.
    best_by : str
        ``loss`` or ``accuracy`` of the validation particles decides which weights are kept, of
        equal ones the later; ``last``: those of the last step.
    best_after : int
        Weights of earlier steps are not kept.
    average : float
        Share of the running average of the weights that stays at each step; 0 = no average.
    consistency : Consistency or None
        How unlabelled particles are learnt from; None = not at all.
    """

    network: str
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    one_cycle: bool
    label_smoothing: float
    augment: str
    class_weights: str
    evaluate_every: int
    patience: int
    dropout: float | None = None
    best_by: str = "loss"
    best_after: int = 0
    average: float = 0.0
    consistency: Consistency | None = None


@dataclass(frozen=True)
class Changes:
    """Settings that replace a preset's own; None = the preset's. Meanings as in ``Recipe``.

    Attributes
    ----------
    epochs : int, optional
        Passes over the labelled particles; wins over ``steps``.
    semi_supervised : bool, optional
        Learn from unlabelled particles too.
    """

    network: str | None = None
    steps: int | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    patience: int | None = None
    class_weights: str | None = None
    augment: str | None = None
    semi_supervised: bool | None = None


def recipe(
    preset: str,
    n_particles: int,
    *,
    n_labelled: int | None = None,
    changes: Changes | None = None,
) -> Recipe:
    """The recipe of a preset for so many particles.

    Parameters
    ----------
    preset : str
        ``default``; ``paper`` (learning rate 1e-3, batch 128, as the text states; the rest as the
        code has it); ``code`` (Adam, learning rate 1e-4, batch 128, 200 epochs, the weights of best
        validation accuracy after epoch 50). The last two do not augment or balance.
    n_particles : int
        That are trained on.
    n_labelled : int, optional
        Those and the ones held out. Default: none is held out.
    changes : Changes, optional
        What differs from the preset.

    References
    ----------
    Du et al. 2021 (btab123) and xulabs/aitom, as read in the comments of ``_of_2021``.
    """
    changes = changes or Changes()
    batch = changes.batch or (_DEFAULT_BATCH if preset == "default" else _BATCH_OF_2021)
    if preset == "default":
        made = _default(changes.network or "compact", n_particles, batch)
        if (n_labelled or n_particles) < _FEW_LABELS:
            made = replace(made, consistency=Consistency())
    else:
        made = _of_2021(n_particles, min(batch, n_particles), rate=_RATES_OF_2021[preset])
    steps = changes.steps or made.steps
    if changes.epochs is not None:
        steps = changes.epochs * steps_per_epoch(n_particles, made.batch)
    asked = {
        name: value
        for name, value in vars(changes).items()
        if value is not None and name not in {"steps", "epochs", "batch", "semi_supervised"}
    }
    made = replace(made, steps=steps, best_after=min(made.best_after, steps - 1), **asked)
    if changes.semi_supervised is None:
        return made
    if not changes.semi_supervised:
        return replace(made, consistency=None)
    # The running average is the teacher, so there must be one.
    average = made.average or _DEFAULT_AVERAGE
    return replace(made, consistency=made.consistency or Consistency(), average=average)


def folds(preset: str, n_labelled: int, share: float | None) -> int:
    """Parts into which so many labelled particles are dealt for calibration; 0 = one split.

    The default recipe does so with fewer than 200: each part is held out once, and then all
    particles are trained on.

    Parameters
    ----------
    preset : str
        ``default``, ``paper`` or ``code``.
    n_labelled : int
        Labelled particles.
    share : float, optional
        To be held out at a time, above 0. Default: a third.
    """
    if preset != "default" or n_labelled >= _FEW_LABELS:
        return 0
    return min(max(round(1 / share), 2), MOST_FOLDS) if share else _DEFAULT_FOLDS


def pretraining_recipe(
    n_particles: int,
    *,
    network: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    augment: str | None = None,
) -> Recipe:
    """How a network is pretrained on so many particles without labels.

    Parameters
    ----------
    n_particles : int
        Without the test particles.
    network, epochs, batch, augment : optional
        As in ``Changes``. Default: compact, ten passes within 800 to 4,000 steps, batches of 64,
        full augmentation.
    """
    network, batch = network or "compact", batch or _PRETRAINING_BATCH
    epoch = steps_per_epoch(n_particles, batch)
    low, high = _PRETRAINING_STEPS
    steps = epochs * epoch if epochs else min(max(_PRETRAINING_EPOCHS * epoch, low), high)
    return Recipe(
        network=network,
        steps=steps,
        batch=batch,
        learning_rate=_DEFAULT_RATES.get(network, _OTHER_RATE),
        weight_decay=1e-2,
        one_cycle=True,
        label_smoothing=0.0,
        augment=augment or "full",
        class_weights="none",
        evaluate_every=25,
        patience=0,
        best_by="last",
    )


def steps_per_epoch(n_particles: int, batch: int) -> int:
    """Steps in which as many particles are seen as there are."""
    return max(-(-n_particles // batch), 1)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, counted from 0."""
    if not recipe.one_cycle:
        return recipe.learning_rate
    warm = max(round(_WARM_UP * recipe.steps), 1)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    done = (step - warm) / max(recipe.steps - warm, 1)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


_FEW_LABELS = 200
_DEFAULT_FOLDS = 3
MOST_FOLDS = 10
_DEFAULT_BATCH = 32
_DEFAULT_AVERAGE = 0.99
# A network without normalisation layers does not bear the rate of one that has them.
_DEFAULT_RATES = {"compact": 5e-3}
_OTHER_RATE = 5e-4
_PRETRAINING_BATCH = 64
_PRETRAINING_EPOCHS, _PRETRAINING_STEPS = 10, (800, 4000)
_BATCH_OF_2021 = 128
_RATES_OF_2021 = {"paper": 1e-3, "code": 1e-4}


def _default(network: str, n_particles: int, batch: int) -> Recipe:
    """The default recipe, chosen by trials on 14 classes at 24^3, SNR 0.05, 1,000 test particles.

    Accuracy with 168 labels: 600 steps 0.76, 1,200 steps 0.81 (with 56 labels 0.68 and 0.71); turns
    and shifts alone 0.71, a quarter of the particles rotated 0.78, half 0.81, three quarters 0.80.
    Learning rates of 5e-3 and 1e-2 and weight decays of 0.01 and 0.05 are alike; label smoothing
    gave 0.01 (0.03 averaged over turns). Of weights kept by validation loss, by validation accuracy
    or simply last (600 steps): 0.745, 0.69, 0.747.
    """
    return Recipe(
        network=network,
        steps=min(800 + 3 * n_particles, 4000),
        batch=batch,
        learning_rate=_DEFAULT_RATES.get(network, _OTHER_RATE),
        weight_decay=1e-2,
        one_cycle=True,
        label_smoothing=0.1,
        augment="full",
        class_weights="balanced",
        evaluate_every=25,
        patience=20,
        average=_DEFAULT_AVERAGE,
    )


def _of_2021(n_particles: int, batch: int, *, rate: float) -> Recipe:
    """Adam (the text names no optimiser), no schedule, one look at the validation set per epoch.

    A batch is never larger than the training set, as with Keras.
    """
    epoch = steps_per_epoch(n_particles, batch)
    return Recipe(
        network="hal2021",
        steps=_EPOCHS_OF_2021 * epoch,
        batch=batch,
        learning_rate=rate,
        weight_decay=0.0,
        one_cycle=False,
        label_smoothing=0.0,
        augment="none",
        class_weights="none",
        evaluate_every=epoch,
        patience=0,
        best_by="accuracy",
        best_after=_UNKEPT_EPOCHS_OF_2021 * epoch,
    )
