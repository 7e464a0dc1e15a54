"""Mistakes as they are posted most often are found, in several variants; sound trainings like them have no cause."""

from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.combine import Sequential
from pellucid.data import float_images
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.suspects import class_weights, layers, losses, settings, suspects
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, LogSoftmax, MaxPool2d, ReLU, Sigmoid, Tanh
from pellucid.losses import BinaryCrossEntropy, NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam, Momentum, Progress
from tests.doctor.own_parts import Rounded
from tests.doctor.test_failing_trainings import split_digits

CONVOLUTIONS = (
    Conv2d(4, 3, padding=1), BatchNorm(), MaxPool2d(2), Conv2d(4, 3, padding=1), Flatten(), Dense(8), Dropout(0.1),
)  # fmt: skip
BOTTLENECK = (Conv2d(8, 1), ReLU(), Conv2d(2, 1), Conv2d(8, 1), ReLU(), Flatten())
ACTIVATED = (Conv2d(4, 3), BatchNorm(), ReLU(), Flatten(), Dense(8), Rounded(straight=True))


def untrained(net: Sequential, loss: Any = None, y: torch.Tensor | None = None, scale: float = 1.0) -> Case:
    x, labels, _ = split_digits()
    model = Model(net, loss or SoftmaxCrossEntropy(), Adam(), metrics=(), input_shape=(1, 8, 8))
    y = labels if y is None else y
    return case_of(model, scale * float_images(x)[: len(y)], y, epochs=4)


@pytest.mark.parametrize(
    ("inner", "n_missing", "is_fault"),
    [
        ((), 0, False),
        ((Flatten(),), 0, False),
        ((Flatten(), Dense(16)), 1, True),
        (CONVOLUTIONS, 3, True),
        ((*CONVOLUTIONS, ReLU()), 2, False),
        (BOTTLENECK, 1, False),
        (ACTIVATED, 0, False),
    ],
)
def test_missing_activations_are_counted(inner: tuple[Any, ...], n_missing: int, is_fault: bool) -> None:
    net = Sequential(*inner, *([] if inner else [Flatten()]), Dense(10))
    found = list(layers.linear_suspects(untrained(net)))
    assert [(one.finding.evidence["layers_without_activation"], one.finding.is_fault) for one in found] == [
        (n_missing, is_fault)
    ] * bool(n_missing)
    for one in found:
        assert list(layers.linear_suspects(one.apply(untrained(net)))) == []


def test_a_log_softmax_at_the_end_is_no_activation_between_layers() -> None:
    net = Sequential(Flatten(), Dense(16), Dense(10), LogSoftmax())
    (found,) = layers.linear_suspects(untrained(net, NegativeLogLikelihood()))
    assert found.finding.is_fault


def linear_network_case(y: torch.Tensor, x: torch.Tensor) -> Case:
    model = Model(Sequential(Dense(16), Dense(16), Dense(1)), "quadratic", Adam(0.01), metrics=(), input_shape=(3,))
    history = model.fit(x[:400], y[:400], epochs=12, verbose=False)
    return case_of(model, x[:400], y[:400], validation=(x[400:], y[400:]), history=history, epochs=12)


@pytest.mark.parametrize("is_linear", [True, False])
def test_a_linear_network_is_at_fault_only_if_the_targets_are_not_linear(is_linear: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=rng)
    y = x[:, :1] - x[:, 1:2] if is_linear else x[:, :1].abs() + x[:, 1:2].abs()
    y = y + 0.3 * torch.randn(600, 1, generator=rng)
    assert diagnose(linear_network_case(y, x)).causes == (() if is_linear else ("no-activation",))


@pytest.mark.parametrize(
    ("pos_weight", "is_suspect"),
    [(1.0, False), (4.0, False), (2.0, False), (60.0, True), (0.05, True), ((4.0, 4.0), False), ((4.0, 80.0), True)],
)
def test_a_pos_weight_far_from_the_balance_is_a_suspect(pos_weight: Any, is_suspect: bool) -> None:
    y = (torch.arange(200)[:, None] % 5 == torch.arange(2)).float()  # four negatives for each positive target
    case = untrained(Sequential(Flatten(), Dense(2)), BinaryCrossEntropy(pos_weight), y)
    found = list(class_weights.loss_option_suspects(case))
    assert [one.unusual for one in found] == [True] * is_suspect
    for one in found:
        assert one.finding.evidence["negatives_for_each_positive"] == pytest.approx(4)
        assert one.apply(case).model.loss == BinaryCrossEntropy()


@pytest.mark.parametrize(("pos_weight", "is_suspect"), [(9.0, False), (100.0, True)])
def test_a_pos_weight_of_a_single_output_is_compared_with_all_targets(pos_weight: float, is_suspect: bool) -> None:
    y = (torch.arange(200) % 10 == 0).long()
    case = untrained(Sequential(Flatten(), Dense(1)), BinaryCrossEntropy(pos_weight), y)
    assert len(list(class_weights.loss_option_suspects(case))) == is_suspect


@pytest.mark.parametrize(
    ("weights", "counts", "unusual"),
    [
        ((1.0, 1.0, 1.1), (60, 60, 60), False),
        ((1.0, 1.0, 30.0), (60, 60, 60), True),
        ((1.0, 1.0, 0.01), (60, 60, 60), True),
        ((1.0, 1.0, 30.0), (150, 150, 5), False),
        ((1.0, 1.0, 5.0), (150, 150, 5), False),
        ((30.0, 30.0, 1.0), (150, 150, 5), True),
    ],
)
def test_class_weights_are_compared_with_the_class_counts(
    weights: tuple[float, ...], counts: tuple[int, ...], unusual: bool
) -> None:
    y = torch.arange(3).repeat_interleave(torch.tensor(counts))
    case = untrained(Sequential(Flatten(), Dense(3)), SoftmaxCrossEntropy(class_weights=weights), y)
    assert next(class_weights.loss_option_suspects(case)).unusual is unusual


@pytest.mark.parametrize(("ignored", "is_suspect"), [(None, False), (0, True), (2, True), (255, False), (-100, False)])
def test_an_ignored_class_is_a_suspect(ignored: int | None, is_suspect: bool) -> None:
    y = torch.arange(20 * 64).view(20, 8, 8) % 10
    case = untrained(Sequential(Conv2d(10, 1)), SoftmaxCrossEntropy(ignore=ignored), y)
    found = list(losses.ignored_class_suspects(case))
    assert [one.apply(case).model.loss for one in found] == [SoftmaxCrossEntropy()] * is_suspect


@pytest.mark.parametrize("scale", [255.0, 65535.0])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_scale_of_the_inputs_is_tried_before_the_learning_rate(scale: float, offset: float) -> None:
    x, y, _ = split_digits()
    large = scale * float_images(x) + offset

    def begin() -> Model:  # weights that are not drawn with the seed, as those of a network in PyTorch
        model = Model(Sequential(Flatten(), Dense(16), ReLU(), Dense(10)), optimizer=Adam(), input_shape=(1, 8, 8))
        model.weights["dense1.weight"].add_(0.001)
        return model

    case = case_of(begin(), large, y, epochs=4, begin=begin)
    found = suspects(case, unnormalised_inputs.CHECK.find(case))
    names = [one.finding.check for one in found]
    assert names[0] == "unnormalised-inputs"
    assert "learning-rate-too-high" in names
    assert (found[0].general, found[0].unusual) == (False, True)


def test_large_inputs_of_a_normalization_are_not_unusual() -> None:
    case = untrained(Sequential(BatchNorm(), Conv2d(4, 3), ReLU(), Flatten(), Dense(10)), scale=255.0)
    assert not unnormalised_inputs.CHECK.find(case)


def turned(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return images (N, C, H, W) with random quarter turns and flips, as a data set of one's own returns them."""
    turns = torch.randint(8, (len(x),), generator=rng)
    versions = [x.rot90(k, (2, 3)) for k in range(4)]
    versions += [version.flip(3) for version in versions]
    return torch.stack(versions)[turns, torch.arange(len(x))]


def shifted(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return torch.stack([image.roll(int(torch.randint(-1, 2, (), generator=rng)), 2) for image in x])


def shuffled(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return the images in another order than their labels."""
    return x[torch.randperm(len(x), generator=rng)]


def augmented_case(change: Any) -> Case:
    x, y, validation = split_digits()
    x = change(float_images(x), torch.Generator().manual_seed(0))
    net = Sequential(Conv2d(16, 3, padding=1), ReLU(), Flatten(), Dense(64), ReLU(), Dense(10))
    model = Model(net, optimizer=Adam(2e-3), input_shape=(1, 8, 8))
    held_out = float_images(validation[0]), validation[1]
    history = model.fit(x, y, epochs=20, batch_size=32, validation=held_out, verbose=False)
    return case_of(model, x, y, validation=held_out, history=history, epochs=20, batch_size=32)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "causes"),
    [(turned, ("augmentation-destroys",)), (shifted, ()), (shuffled, ("shuffled-labels",))],
)
def test_only_turned_training_images_are_called_turned(change: Any, causes: tuple[str, ...]) -> None:
    assert diagnose(augmented_case(change)).causes == causes


TORCH_OPTIMIZERS: list[tuple[Any, dict[str, Any], bool]] = [
    (torch.optim.SGD, {"momentum": 0.997}, True),
    (torch.optim.SGD, {"momentum": 0.99, "weight_decay": 0.01}, True),
    (torch.optim.RMSprop, {"momentum": 0.999}, True),
    (torch.optim.AdamW, {"betas": (0.995, 0.999)}, True),
    (torch.optim.SGD, {"momentum": 0.9}, False),
    (torch.optim.SGD, {"momentum": 0.95}, False),
    (torch.optim.SGD, {}, False),
    (torch.optim.Adam, {}, False),
    (torch.optim.Adam, {"betas": (0.5, 0.999)}, False),
]


@pytest.mark.parametrize(("kind", "options", "is_unusual"), TORCH_OPTIMIZERS)
def test_a_momentum_near_one_of_pytorch_is_unusual(kind: Any, options: dict[str, Any], is_unusual: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, y, _ = split_digits()
    training = pellucid.from_torch(
        network, loss=nn.CrossEntropyLoss(), optimizer=kind(network.parameters(), lr=0.2, **options),
        train=[(float_images(x)[:64], y[:64])],
    )  # fmt: skip
    case = case_of(training.model, float_images(x), y, epochs=1)
    unusual = [one for one in settings.optimizer_suspects(case) if one.unusual]
    assert [one.finding.check for one in unusual] == ["momentum-too-high"] * (2 * is_unusual)
    for one, rate in zip(unusual, (0.2, 0.02), strict=False):
        optimizer: Any = one.apply(case).model.optimizer
        assert optimizer.lr == rate
        (group,) = optimizer._settings(rate)
        assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.9
        assert group.get("weight_decay") == options.get("weight_decay", group.get("weight_decay"))


def test_only_options_far_above_their_defaults_are_replaced_where_there_are_some() -> None:
    net = Sequential(Flatten(), Dense(10))
    x, y, _ = split_digits()
    for optimizer, expected in (
        (Adam(1e-3, beta1=0.95, epsilon=1.0), ["optimizer-settings"]),
        (Momentum(0.1, momentum=0.99), ["momentum-too-high", "momentum-too-high"]),
    ):
        case = case_of(Model(net, optimizer=optimizer, input_shape=(1, 8, 8)), x, y, epochs=1)
        found = list(settings.optimizer_suspects(case))
        assert [one.finding.check for one in found] == expected
        changed: Any = found[0].apply(case).model.optimizer
        assert getattr(changed, "beta1", 0.95) == 0.95


def regression_case(rate: float, mean: float, std: float, epochs: int = 15) -> Case:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(900, 8, generator=rng)
    y = x[:, :1] + (2 * x[:, 1:2]).sin() + x[:, 2:3].abs() - 0.8 + 0.1 * torch.randn(900, 1, generator=rng)
    y = mean + std / 1.2 * y
    net = Sequential(Dense(64), ReLU(), Dense(64), ReLU(), Dense(1))
    model = Model(net, "quadratic", Adam(rate), metrics=(), input_shape=(8,))
    history = model.fit(x[:600], y[:600], epochs=epochs, batch_size=32, verbose=False)
    return case_of(model, x[:600], y[:600], validation=(x[600:], y[600:]), history=history, epochs=epochs)


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 1.0), (0.3, 2.0), (40.0, 15.0)])
def test_a_rate_far_too_low_is_named_before_the_targets(mean: float, std: float) -> None:
    assert diagnose(regression_case(1e-5, mean, std)).causes == ("learning-rate-too-low",)


@pytest.mark.parametrize(("rate", "is_first"), [(1e-5, True), (1e-4, False), (1e-3, False), (1.0, False)])
def test_a_rate_far_below_the_usual_one_is_tried_first(rate: float, is_first: bool) -> None:
    found = suspects(regression_case(rate, 3.0, 1.0, epochs=1))
    assert {one.finding.check for one in found} >= {"unnormalised-targets"}
    assert (found[0].finding.check == "learning-rate-too-low") is is_first
    assert [one.finding.check for one in found if one.general and one.unusual] == []


def deep_net(activation: Any, count: int, width: int = 32) -> Sequential:
    inner = [layer for _ in range(count) for layer in (Dense(width), activation())]
    return Sequential(Flatten(), *inner, Dense(10))


@pytest.mark.parametrize(
    ("net", "is_suspect"),
    [
        (deep_net(Sigmoid, 6), True),
        (deep_net(Sigmoid, 4, width=128), True),
        (deep_net(pellucid.HardSigmoid, 4), True),
        (deep_net(Sigmoid, 1), False),
        (deep_net(Tanh, 3), False),
        (deep_net(ReLU, 6), False),
        (Sequential(Flatten(), Dense(32), ReLU(), Dense(10), Sigmoid()), False),
    ],
)  # fmt: skip
def test_activations_through_which_gradients_vanish_are_a_suspect(net: Sequential, is_suspect: bool) -> None:
    case = untrained(net)
    found = list(layers.activation_suspects(case))
    assert [(one.finding.check, one.unusual) for one in found] == [("saturating-activations", True)] * is_suspect
    for one in found:
        assert one.finding.path in ("sigmoid1", "hardsigmoid1")
        changed = one.apply(case)
        assert not list(layers.activation_suspects(changed))
        weight = changed.begin().weights["dense2.weight"]
        assert float(weight.square().mean()) == pytest.approx(2 / weight[0].numel(), rel=0.2)  # He et al. 2015


@pytest.mark.parametrize(
    ("net", "changed_widths"),
    [
        (Sequential(Flatten(), Dense(5), Sigmoid(), Dense(5), Sigmoid(), Dense(10)), (32, 32, 10)),
        (Sequential(Conv2d(2, 3), ReLU(), Conv2d(16, 3), ReLU(), Flatten(), Dense(3), ReLU(), Dense(10)), (32, 16, 32)),
        (Sequential(Flatten(), Dense(8), ReLU(), Dense(10)), ()),
        (Sequential(Flatten(), Dense(2)), ()),
    ],
)
def test_narrow_inner_layers_are_widened_and_the_last_layer_is_not(net: Sequential, changed_widths: Any) -> None:
    case = untrained(net, y=torch.zeros(64, dtype=torch.int64))
    found = list(layers.narrow_suspects(case))
    assert [one.finding.check for one in found] == ["narrow-layers"] * bool(changed_widths)
    for one in found:
        weights = [value for path, value in one.apply(case).begin().weights.items() if path.endswith("weight")]
        assert tuple(len(weight) for weight in weights)[: len(changed_widths)] == changed_widths
        assert len(weights[-1]) == 10


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "width"), [(Sigmoid, 4), (ReLU, 2)])
def test_layers_of_a_few_units_are_the_cause(activation: Any, width: int) -> None:
    x, y, held_out = split_digits()
    net = Sequential(Flatten(), Dense(width), activation(), Dense(width), activation(), Dense(10))
    model = Model(net, optimizer=Adam(3e-3), input_shape=(1, 8, 8))
    history = model.fit(x, y, epochs=8, validation=held_out, verbose=False)
    assert diagnose(case_of(model, x, y, validation=held_out, history=history, epochs=8)).causes == ("narrow-layers",)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_strong_augmentation_by_the_data_set_itself_is_no_cause(seed: int) -> None:
    x, y, (held_out_x, held_out_y) = split_digits()
    x = float_images(x)
    rng = torch.Generator().manual_seed(seed)

    def batches() -> Any:
        for indices in torch.randperm(len(x), generator=rng).split(32):
            images = shifted(x[indices], rng) + 0.25 * torch.randn(len(indices), 1, 8, 8, generator=rng)
            images[:, :, :, int(torch.randint(8, (), generator=rng))] = 0
            yield images, y[indices]

    net = Sequential(Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), Flatten(), Dense(10))
    model = Model(net, optimizer=Adam(3e-3), input_shape=(1, 8, 8), seed=seed)
    held_out = float_images(held_out_x), held_out_y
    history = model.fit(batches, epochs=12, steps_per_epoch=-(-len(x) // 32), validation=held_out, verbose=False)
    diagnosis = model.doctor(batches, validation=held_out, history=history, epochs=12, batch_size=32)
    assert {diagnosis.kind(index) for index in range(len(diagnosis.findings))} <= {"symptom", "consequence"}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [Adam(3e-3), Momentum(0.05)])
def test_six_sigmoids_are_the_cause(optimizer: Any) -> None:
    x, y, held_out = split_digits()
    model = Model(deep_net(Sigmoid, 6), optimizer=optimizer, input_shape=(1, 8, 8))
    history = model.fit(x, y, epochs=4, validation=held_out, verbose=False)
    diagnosis = diagnose(case_of(model, x, y, validation=held_out, history=history, epochs=4))
    assert diagnosis.causes == ("saturating-activations",)


SCHEDULES: list[tuple[str, Any, bool]] = [
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 60 * 32}, True),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 60 * 12}, True),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 60}, False),
    ("CyclicLR", {"base_lr": 1e-4, "max_lr": 0.1, "step_size_up": 900}, True),
    ("CyclicLR", {"base_lr": 1e-4, "max_lr": 0.1, "step_size_up": 20}, False),
    ("LinearLR", {"start_factor": 0.01, "total_iters": 2000}, True),
    ("LinearLR", {"start_factor": 0.01, "total_iters": 20}, False),
    ("LambdaLR", {"lr_lambda": lambda step: min((step + 1) ** -0.5, (step + 1) * 20**-1.5)}, False),
    ("CosineAnnealingLR", {"T_max": 60 * 32}, False),
    ("CosineAnnealingLR", {"T_max": 20}, False),
]


@pytest.mark.parametrize(("name", "options", "is_too_long"), SCHEDULES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_schedule_that_rises_beyond_the_end_is_made_faster(
    name: str, options: dict[str, Any], is_too_long: bool, momentum: float
) -> None:
    x, y, _ = split_digits()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    kind = getattr(torch.optim.lr_scheduler, name)
    cycles = {} if name not in ("OneCycleLR", "CyclicLR") else {"cycle_momentum": momentum > 0}
    scheduler = kind(optimizer, **options, **cycles)
    batches = [(float_images(x[:32]), y[:32])] * 12
    training = pellucid.from_torch(
        network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=batches, scheduler=scheduler,
        scheduler_step="batch",
    )  # fmt: skip
    data = (float_images(x).repeat(3, 1, 1, 1)[:384], y.repeat(3)[:384])
    case = case_of(training.model, *data, epochs=5)
    found = [one for one in settings.schedule_suspects(case) if one.remedy.key == "faster-schedule"]
    assert len(found) == is_too_long
    for one in found:
        model = one.apply(case).model
        factors = [float(model.schedule.factor(Progress(step, 60, 12), {})) for step in range(60)]
        assert max(factors) > 3 * float(case.model.schedule.factor(Progress(59, 60, 12), {}))
        assert model.optimizer == case.model.optimizer


@pytest.mark.parametrize(
    ("optimizer", "is_unusual"),
    [(Adam(0.03), True), (Adam(1.0), True), (Adam(0.01), False), (Adam(0.001), False), (Adam(1e-5), True)],
)
def test_a_rate_far_from_the_usual_one_is_unusual(optimizer: Adam, is_unusual: bool) -> None:
    model = Model(Sequential(Dense(2)), "quadratic", optimizer, metrics=(), input_shape=(3,))
    found = settings.rate_suspects(case_of(model, torch.rand(20, 3), torch.rand(20, 2), epochs=1))
    assert [one.remedy.key for one in found if one.unusual] == ["rate-0.001"] * is_unusual
