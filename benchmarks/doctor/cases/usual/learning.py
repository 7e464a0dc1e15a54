"""Mistakes in losses, optimizers, schedules, regularization and fine-tuning."""

from dataclasses import replace

from benchmarks.doctor.cases.usual.parts import Accumulating, ClippedCrossEntropy, IntegerWarmup, PairwiseSquares
from benchmarks.doctor.cases.usual.pictures import with_pictures
from benchmarks.doctor.cases.usual.sound import sound_training
from benchmarks.doctor.cases.usual.training import ModifyModel, Training, compare
from benchmarks.doctor.fit import Pair
from benchmarks.doctor.material import friedman, material, rotated_digits
from benchmarks.doctor.settings import conv, mlp
from pellucid import EarlyStopping, Model
from pellucid.data import Dataset
from pellucid.data.source import Arrays
from pellucid.layers import ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Step


def summed_loss(seed: int) -> Pair:
    right = sound_training("mnist-plain", seed, optimizer=Momentum(0.02))
    return compare(right.replace(loss=SoftmaxCrossEntropy(reduction="sum")), right)


def broadcast_loss(seed: int) -> Pair:
    right = Training(*friedman(seed), mlp(ReLU, 32), Adam(3e-3), 20, loss="quadratic", seed=seed)
    return compare(right.replace(loss=PairwiseSquares()), right)


def unscaled_targets(seed: int) -> Pair:
    train, validation = rotated_digits(seed)
    right = Training(train, validation, conv(8, 16), Adam(2e-3), 6, loss="quadratic", seed=seed, scale=False)

    def counted(part: Arrays) -> Arrays:  # like an encoder
        return replace(part, y=1000 + 20 * part.y)

    wrong = right.replace(train=counted(train), validation=counted(validation))
    return compare(wrong, right, measure="explained variance", own_validation=True)


def clipped_loss(seed: int) -> Pair:
    right = sound_training("mnist-plain", seed)
    return compare(right.replace(loss=ClippedCrossEntropy(1.5)), right)


def large_epsilon(seed: int) -> Pair:
    right = sound_training("mnist-mlp", seed)
    return compare(right.replace(optimizer=Adam(1e-3, epsilon=1.0)), right)


def high_momentum(seed: int) -> Pair:
    right = sound_training("mnist-plain", seed, optimizer=Momentum(0.02))
    return compare(right.replace(optimizer=Momentum(0.02, 0.998)), right)


def no_zero_grad(seed: int) -> Pair:
    right = sound_training("digits", seed, net=mlp(ReLU, 48), optimizer=SGD(0.1), epochs=12)
    return compare(right.replace(optimizer=Accumulating(0.1)), right)


def decay_as_l2(seed: int) -> Pair:
    right = sound_training("mnist-plain", seed, optimizer=Momentum(0.01))
    n = 3000  # `L2` divides by the number of examples
    return compare(
        right.replace(options={"regularizer": L2(0.3 * n)}), right.replace(options={"regularizer": L2(1e-4 * n)})
    )


def schedule_per_batch(seed: int) -> Pair:
    right = sound_training("cifar", seed, optimizer=Momentum(0.02), options={"schedule": Step(0.8, every=1)})
    return compare(right.replace(options={"schedule": Step(0.8, every=1, unit="steps")}), right)


def integer_warmup(seed: int) -> Pair:
    right = sound_training("digits-mlp", seed)
    assert isinstance(right.train, Dataset)
    steps = right.epochs * -(-len(right.train) // right.batch_size)
    return compare(right.replace(options={"schedule": IntegerWarmup(steps - 1)}), right)


def tight_clipping(seed: int) -> Pair:
    right = sound_training("mnist", seed, net=conv(8, 16, norm=False), optimizer=Momentum(0.01), options={"clip": 5.0})
    return compare(right.replace(options={"clip": 1e-3}), right)


def frozen_random_features(seed: int) -> Pair:
    right = sound_training("cifar", seed)
    return compare(right.replace(modify=freeze_features), right)


def no_patience(seed: int) -> Pair:
    right = sound_training("cifar", seed, optimizer=Momentum(0.0005), epochs=10)
    return compare(right.replace(callbacks=lambda: [EarlyStopping(1, "val_loss", min_delta=0.1)]), right)


def pretrained_modifiers(seed: int) -> tuple[ModifyModel, ModifyModel]:
    """Return two functions: one copies features trained on digits 0 to 4 into a model, one also freezes them."""
    all_digits = sound_training("mnist", seed + 1_000, net=conv(16, 32), epochs=4)
    assert isinstance(all_digits.train, Dataset)
    first_digits = all_digits.train.subset((all_digits.train.y < 5).nonzero().flatten())
    features = all_digits.replace(train=first_digits, validation=first_digits).fit().run().model

    def copy_features(model: Model) -> None:
        for path in _features(model):
            model.weights[path].copy_(features.weights[path])

    def copy_and_freeze(model: Model) -> None:
        copy_features(model)
        freeze_features(model)

    return copy_features, copy_and_freeze


def freeze_features(model: Model) -> None:
    """Freeze all layers except for the last."""
    model.freeze(*(path for path in _features(model) if "running" not in path))


def _features(model: Model) -> list[str]:
    """Return the paths of all parameters and buffers except for those of the last layer."""
    last = list(model.weights)[-1].rpartition(".")[0] + "."
    return [path for path in model.weights if not path.startswith(last)]


def fine_tuning_rate(seed: int) -> Pair:
    copy_features, _ = pretrained_modifiers(seed)
    right = sound_training("mnist", seed, net=conv(16, 32), optimizer=Momentum(0.005), epochs=8, modify=copy_features)
    assert isinstance(right.train, Dataset)
    right = right.replace(train=right.train.subset(range(300)))
    return compare(right.replace(optimizer=Momentum(1.5)), right)


def pretrained_inputs(seed: int) -> Pair:
    _, copy_and_freeze = pretrained_modifiers(seed)
    train, validation = material("mnist", seed)
    changed = [
        with_pictures(data, 104.0 - data.x.float()) for data in (train, validation)
    ]  # dark digits on a light ground, with a mean of 151 subtracted
    right = sound_training("mnist", seed, net=conv(16, 32), modify=copy_and_freeze)
    wrong = right.replace(train=changed[0], validation=changed[1], scale=False)
    return compare(wrong, right, validation, "accuracy", own_validation=True)


CASES = {
    "summed-loss": summed_loss,
    "broadcast-loss": broadcast_loss,
    "unscaled-targets": unscaled_targets,
    "clipped-loss": clipped_loss,
    "large-epsilon": large_epsilon,
    "high-momentum": high_momentum,
    "no-zero-grad": no_zero_grad,
    "decay-as-l2": decay_as_l2,
    "schedule-per-batch": schedule_per_batch,
    "integer-warmup": integer_warmup,
    "tight-clipping": tight_clipping,
    "frozen-random-features": frozen_random_features,
    "no-patience": no_patience,
    "fine-tuning-rate": fine_tuning_rate,
    "pretrained-inputs": pretrained_inputs,
}
