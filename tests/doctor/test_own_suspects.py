"""Mistakes in user-defined layers, losses and settings are found; their correct variants have no finding."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import cut_gradient, mixed_examples
from pellucid.doctor.passes import leaves
from pellucid.doctor.suspects import class_weights, layers, losses, objectives, targets
from pellucid.generators import GAN
from pellucid.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    LogSoftmax,
    ReLU,
    Reshape,
)
from pellucid.losses import BinaryCrossEntropy, HeatMaps, NegativeLogLikelihood, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.operators import Detach, Permute
from pellucid.operators.moves import Select
from pellucid.optim import SGD, Adam, Momentum
from tests.doctor.own_parts import Rounded, SoftmaxOver, Squared, Weighted
from tests.doctor.test_failing_trainings import split_digits, trained_case


def net_with_layers(*layers: Any, width: int = 32) -> Sequential:
    return Sequential(Flatten(), Dense(width), ReLU(), *layers, Dense(10))


def regression_case(loss: Any, epochs: int = 10, shift: float = 0.0, scale: float = 1.0) -> Case:
    """Return the case of a trained regression of a smooth function of four standard normal inputs."""
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + x[:, 1] * x[:, 2]) * scale + shift
    y = y if isinstance(loss, Squared) else y[:, None]
    model = Model(
        Sequential(Dense(32), ReLU(), Dense(1)), loss=loss, optimizer=Adam(0.01), metrics=(), input_shape=(4,)
    )  # fmt: skip
    model.fit(x[:400], y[:400], epochs=epochs, verbose=False)
    return case_of(model, x[:400], y[:400], validation=(x[400:], y[400:]), epochs=epochs)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_layer_that_mixes_examples_is_found(axis: int) -> None:
    case = trained_case(net_with_layers(SoftmaxOver(axis)), epochs=1)
    findings = mixed_examples.CHECK.find(case)
    assert [finding.evidence["layer"] for finding in findings] == ["SoftmaxOver"] * (axis == 0)


@pytest.mark.parametrize("straight", [False, True])
def test_a_layer_with_a_gradient_of_0_is_found(straight: bool) -> None:
    case = trained_case(net_with_layers(Rounded(straight)), epochs=1)
    findings = cut_gradient.CHECK.find(case)
    if straight:
        assert findings == []
        return
    (finding,) = findings
    assert finding.evidence["layers_that_never_learn"] == 1
    assert finding.remedy is not None
    assert not cut_gradient.CHECK.find(finding.remedy.apply(case))


@pytest.mark.parametrize(("layers_between", "frozen", "is_found"), [
    ((Detach(),), (), True), ((Dense(8), Detach(), ReLU()), (), True), ((), (), False),
    ((Detach(),), ("dense1.*",), False),
])  # fmt: skip
def test_a_detach_after_layers_that_are_to_learn_is_a_suspect(
    layers_between: tuple[Any, ...], frozen: tuple[str, ...], is_found: bool
) -> None:
    x, y, _ = split_digits()
    model = Model(net_with_layers(*layers_between), input_shape=(1, 8, 8))
    model.build((1, 8, 8))
    for pattern in frozen:
        model.freeze(pattern)
    case = case_of(model, x, y)
    found = list(layers.detach_suspects(case))
    assert len(found) == is_found
    assert not cut_gradient.CHECK.find(case)
    for change in found:
        assert not list(layers.detach_suspects(change.apply(case)))


@pytest.mark.parametrize(
    ("old_sizes", "new_sizes", "order"),
    [
        ((48, 3), (3, 48), (0, 2, 1)),
        ((4, 6, 5), (5, 4, 6), (0, 3, 1, 2)),
        ((4, 6, 6), (6, 6, 4), (0, 2, 3, 1)),
        ((8, 6), (48,), None),
        ((8, 6), (8, 3, 2), None),
        ((1, 8, 6), (8, 6, 1), None),
        ((8, 8), (8, 8), None),
    ],
)
def test_a_reshape_to_the_sizes_of_exchanged_axes_is_a_suspect(
    old_sizes: tuple[int, ...], new_sizes: tuple[int, ...], order: tuple[int, ...] | None
) -> None:
    x = torch.rand(20, *old_sizes, generator=torch.Generator().manual_seed(0))
    net = Sequential(shape=Reshape(new_sizes), flat=Flatten(), out=Dense(2))
    case = case_of(Model(net, input_shape=old_sizes), x, torch.arange(20) % 2)
    found = list(layers.reshape_suspects(case))
    assert len(found) == (order is not None)
    for change in found:
        changed = change.apply(case)
        assert dict(leaves(changed.model.net))["shape"] == Permute(order or ())
        assert not list(layers.reshape_suspects(changed))


def test_dead_units_do_not_cut_a_gradient() -> None:
    def begin() -> Model:
        model = Model(net_with_layers(Rounded(straight=False)), input_shape=(1, 8, 8))
        model.weights["dense1.bias"].fill_(-50.0)
        return model

    x, y, _ = split_digits()
    assert not cut_gradient.CHECK.find(case_of(begin(), x, y, begin=begin))


def test_a_loss_of_all_pairs_is_the_cause() -> None:
    assert diagnose(regression_case(Squared(broadcast=True))).causes == ("loss-mixes-examples",)
    assert list(losses.coupled_loss_suspects(regression_case(Squared(broadcast=False), epochs=1))) == []


@dataclass(frozen=True)
class Rising(Momentum):
    """Momentum with the opposite sign."""

    def update(self, params: Any, grads: Any, state: Any, lr: float) -> None:
        super().update(params, grads, state, -lr)


def test_a_user_defined_optimizer_is_replaced_by_that_of_the_library() -> None:
    x, y, _ = split_digits()
    case = case_of(Model(net_with_layers(), optimizer=Rising(0.05, momentum=0.5), input_shape=(1, 8, 8)), x, y)
    (change,) = losses.own_optimizer_suspects(case)
    assert change.finding.evidence["optimizer"] == "Rising"
    assert change.apply(case).model.optimizer == Momentum(0.05, momentum=0.5)
    assert not list(losses.own_optimizer_suspects(change.apply(case)))


@dataclass(frozen=True)
class ShrinkingLate(SGD):
    """Gradient descent that also shrinks all parameters after 500 steps."""

    elementwise: ClassVar[bool] = True

    def init(self, params: Any) -> Any:
        return {"steps": [torch.zeros_like(param) for param in params]}

    def update(self, params: Any, grads: Any, state: Any, lr: float) -> None:
        for steps in state["steps"]:
            steps.add_(1)
        super().update(params, grads, {}, lr)
        for param in params if state["steps"][0].max() > 500 else ():
            param.mul_(0.95)


def test_a_fault_that_shows_late_is_found_by_trainings_of_all_steps() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + x[:, 1:2] * x[:, 2:3]
    model = Model(
        Sequential(Dense(32), ReLU(), Dense(1)), Quadratic(), ShrinkingLate(0.02), input_shape=(4,), metrics=(),
    )  # fmt: skip
    history = model.fit(x[:400], y[:400], epochs=16, batch_size=8, verbose=False)
    diagnosis = model.doctor(x[:400], y[:400], validation=(x[400:], y[400:]), history=history, epochs=16, batch_size=8)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("own-optimizer", "cause")
    assert diagnosis.intervention_effects[0].steps == 800


@pytest.mark.parametrize(("budget", "kind"), [(2.5, "likely cause"), (6.0, "cause")])
def test_a_large_gain_that_is_not_certain_within_the_budget_is_a_likely_cause(budget: float, kind: str) -> None:
    x, y, validation = split_digits()
    net = Sequential(Flatten(), Dense(32), ReLU(), Dropout(0.8), Dense(10))
    model = Model(net, optimizer=Adam(3e-3), input_shape=(1, 8, 8))
    history = model.fit(x, y, epochs=6, batch_size=32, verbose=False)
    diagnosis = model.doctor(
        x, y, validation=validation, history=history, epochs=6, batch_size=32, budget=budget
    )  # fmt: skip
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("dropout-too-strong", kind)
    effect = diagnosis.intervention_effects[0]
    assert effect.verdict == ("cause" if kind == "cause" else "unclear")
    assert effect.after[0] - effect.before[0] > 0.06


def test_layer_options_far_from_their_defaults_are_replaced() -> None:
    x, y, _ = split_digits()
    net = Sequential(Conv2d(10, 3, padding=1), BatchNorm(momentum=0.9), ReLU(), LogSoftmax(3))
    masks = y[:, None, None].expand(-1, 8, 8).contiguous()
    case = case_of(Model(net, NegativeLogLikelihood(), input_shape=(1, 8, 8)), x, masks)
    changes = list(layers.layer_option_suspects(case))
    assert [change.remedy.description for change in changes] == [
        "momentum = 0.1 in BatchNorm",
        "axis = 1 in LogSoftmax",
    ]
    for change, other in (changes, reversed(changes)):
        (remaining,) = layers.layer_option_suspects(change.apply(case))
        assert remaining.remedy.description == other.remedy.description


def test_options_without_defaults_are_not_replaced() -> None:
    x, y, _ = split_digits()
    net = Sequential(Conv2d(4, 3, padding=1), ReLU(), Select(axis=2, index=0), Flatten(), Dense(10))
    assert not list(layers.layer_option_suspects(case_of(Model(net, input_shape=(1, 8, 8)), x, y)))


def test_the_user_defined_optimizer_of_one_network_is_replaced() -> None:
    optimizers = {"generator": Rising(0.05, momentum=0.5), "discriminator": Adam(1e-3)}
    gan = GAN(Sequential(Dense(16), Reshape((1, 4, 4))), 4, Sequential(Flatten(), Dense(1)))
    x = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    case = case_of(Model(gan, optimizer=optimizers, input_shape=(1, 4, 4)), x, x)
    (change,) = losses.own_optimizer_suspects(case)
    assert change.finding.path == "generator"
    assert change.apply(case).model.optimizers == {**optimizers, "generator": Momentum(0.05, momentum=0.5)}


def test_user_defined_parts_are_replaced_by_those_of_the_library() -> None:
    (change,) = losses.own_loss_suspects(regression_case(Squared(broadcast=False), epochs=1))
    assert type(change.apply(regression_case(Squared(broadcast=False), epochs=1)).model.loss) is Quadratic
    assert list(losses.own_loss_suspects(regression_case("quadratic", epochs=1))) == []


def test_a_weighted_mean_mixes_no_examples() -> None:
    assert list(losses.coupled_loss_suspects(trained_case(loss=Weighted(), epochs=1))) == []


def test_targets_far_from_zero_are_the_cause() -> None:
    assert diagnose(regression_case("quadratic", shift=500.0, scale=20.0)).causes == ("unnormalised-targets",)


def test_targets_near_zero_are_no_suspect() -> None:
    assert list(targets.target_suspects(regression_case("quadratic", epochs=1))) == []


def test_class_weights_by_frequency_are_unusual() -> None:
    x, y, held_out = split_digits()
    indices = (y < 5) | (torch.arange(len(y)) % 8 == 0)
    counts = y[indices].bincount().double()
    for weights, unusual in ((counts / counts.mean(), True), (counts.mean() / counts, False)):
        model = Model(
            net_with_layers(), loss=SoftmaxCrossEntropy(class_weights=tuple(weights.tolist())), input_shape=(1, 8, 8)
        )
        (suspect,) = class_weights.loss_option_suspects(case_of(model, x[indices], y[indices], validation=held_out))
        assert suspect.unusual is unusual


def test_a_stride_of_maps_of_any_size_is_no_suspect() -> None:
    net = Sequential(maps=Conv2d(2, 1))
    model = Model(net, HeatMaps(stride=1), Adam(), input_shape=(1, None, None), metrics=())
    y = torch.cat([4 * torch.rand(6, 2, 2), torch.full((6, 2, 1), 2.0)], 2)
    assert list(objectives.stride_suspects(case_of(model, torch.rand(6, 1, 4, 4), y, epochs=1))) == []


@pytest.mark.parametrize(("positive", "n_labels"), [(0.03, 8), (0.08, 3), (0.15, 5)])
@pytest.mark.parametrize(("answer", "is_suspect"), [(-3.0, True), (3.0, False)])
def test_rare_labels_that_are_never_predicted_are_a_suspect(
    positive: float, n_labels: int, answer: float, is_suspect: bool
) -> None:
    y = (torch.rand(400, n_labels, generator=torch.Generator().manual_seed(0)) < positive).float()
    model = Model(Sequential(Dense(n_labels)), BinaryCrossEntropy(), Adam(), input_shape=(n_labels,), metrics=())
    model.weights["dense1.weight"].copy_(5 * torch.eye(n_labels))
    model.weights["dense1.bias"].fill_(answer - 5)  # answers no for all, or yes for the positive ones
    case = case_of(model, 2 * y - 1, y, epochs=1)
    found = list(class_weights.class_balance_suspects(case))
    is_rare = positive < 0.05  # is tried in any case
    assert len(found) == (is_suspect or is_rare)
    for one in found:
        assert one.unusual
        loss = one.apply(case).model.loss
        assert isinstance(loss, BinaryCrossEntropy)
        assert loss.pos_weight == pytest.approx((1 - positive) / positive, rel=0.5)
