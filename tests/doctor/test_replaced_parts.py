"""Parts of trainings that are replaced by defaults, for tasks other than classification."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential
from pellucid.doctor import case_of
from pellucid.doctor.paired import PairedTrainings
from pellucid.doctor.rehearsal import rehearse
from pellucid.doctor.suspects import suspects
from pellucid.doctor.suspects.layers import layer_suspects
from pellucid.doctor.suspects.settings import rate_suspects
from pellucid.generators import GAN, WGANGP
from pellucid.layers import (
    GELU,
    AdaptiveAvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    InstanceNorm2d,
    ReLU,
    Reshape,
    Sigmoid,
    Tanh,
)
from pellucid.losses import Coordinates, HeatMaps, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.operators import Attention
from pellucid.optim import SGD, Adam, AdamW
from pellucid.task import task_of
from pellucid.tasks.generate.doctor.likeness import scores
from tests.doctor.detection.small_cases import make_case as detection_case

CLASSES = torch.tensor([0, 1] * 4)


@dataclass(frozen=True)
class OwnGAN(GAN):
    """A subclass of GAN without changes."""


def make_gan(kind: type[GAN], **options: Any) -> GAN:
    net = Sequential(dense=Dense(16), shape=Reshape((1, 4, 4)), norm=BatchNorm(), end=Sigmoid())
    return kind(net, 4, Sequential(flatten=Flatten(), norm=BatchNorm(), score=Dense(1)), **options)


def key_points(count: int) -> torch.Tensor:
    """Return two visible points (count, 2, 3) of images of 4 x 4 pixels."""
    rng = torch.Generator().manual_seed(0)
    return torch.cat([4 * torch.rand(count, 2, 2, generator=rng), torch.full((count, 2, 1), 2.0)], 2)


def suspects_by_change(model: Model, y: torch.Tensor, **options: Any) -> dict[str, Any]:
    x = torch.rand(len(y), *model.input_shape, generator=torch.Generator().manual_seed(0))
    return {
        suspect.remedy.description: suspect
        for suspect in suspects(case_of(model, x, y, epochs=3, batch_size=4, **options))
    }


def test_a_detector_has_parts_that_are_replaced() -> None:
    case = detection_case()
    case.model.freeze("backbone.*")
    case.model.clip = 0.1
    changes = {one.remedy.description: one for one in suspects(case)}
    lower_rate = f"a learning rate of {0.1 * case.model.optimizer.lr:.2g}"
    assert {"no frozen parameters", "no clipping", lower_rate} <= {*changes}
    unfrozen = changes["no frozen parameters"].apply(case)
    assert (unfrozen.begin().frozen, unfrozen.begin().clip) == (set(), 0.1)
    assert case.model.frozen
    unclipped = changes["no clipping"].apply(case)
    assert (unclipped.begin().clip, unclipped.begin().frozen) == (None, case.model.frozen)
    params, unclipped_params = (flatten(one.begin().params) for one in (case, unclipped))
    assert all(torch.equal(params[path], unclipped_params[path]) for path in params), "the first weights are the same"


def test_the_last_activation_is_removed_and_all_other_weights_are_kept() -> None:
    net = Sequential(flatten=Flatten(), out=Dense(6), last=ReLU())
    model = Model(net, Coordinates(size=(8, 8)), Adam(), input_shape=(1, 8, 8), metrics=())
    y = torch.cat([8 * torch.rand(6, 3, 2), torch.full((6, 3, 1), 2.0)], 2)
    change = suspects_by_change(model, y)["the network without last"]
    changed = change.apply(case_of(model, torch.rand(6, 1, 8, 8), y, epochs=1))
    assert isinstance(changed.model.net.layers["last"], Identity)
    assert torch.equal(changed.model.weights["out.weight"], model.weights["out.weight"])


def test_weights_of_classes_of_pixels_are_the_root_of_their_inverse_counts() -> None:
    net = Sequential(scores=Conv2d(3, 1))
    model = Model(net, SoftmaxCrossEntropy(ignore=9), Adam(), input_shape=(1, 4, 4), metrics=())
    y = torch.zeros(10, 4, 4, dtype=torch.int64)
    y[0, 0, 0], y[1], y[2, 0] = 1, 9, 2  # 1 pixel of class 1, 4 of class 2, and 139 of class 0
    change = suspects_by_change(model, y)["classes weighted by the root of inverse counts"]
    weights = change.apply(case_of(model, torch.rand(10, 1, 4, 4), y, epochs=1)).model.loss.class_weights
    roots = np.sqrt([1 / 139, 1, 1 / 4])
    assert weights == pytest.approx(3 * roots / roots.sum())


def test_parts_of_generators_are_replaced_by_those_of_their_base() -> None:
    rates = {"generator": Adam(1e-3), "discriminator": Adam(0.1)}
    model = Model(make_gan(OwnGAN, weights={"generator": 0.1}), optimizer=rates, input_shape=(1, 4, 4), metrics=())
    suspects = suspects_by_change(model, torch.zeros(8))
    assert [one.finding.check for one in suspects.values()][:3] == [
        "own-objective", "wrong-output", "wrong-output",
    ]  # fmt: skip
    case = case_of(model, torch.rand(8, 1, 4, 4), torch.zeros(8), epochs=3)
    initial_models = {description: one.apply(case).begin() for description, one in suspects.items()}
    assert type(initial_models["the objective GAN"].objective) is GAN
    assert initial_models["all losses with the weight 1"].objective.weights == {}
    assert initial_models["the learning rate 0.001 for the discriminator"].optimizers["discriminator"].lr == 1e-3
    assert isinstance(initial_models["a generator that ends in a tanh"].objective.generator.layers["end"], Tanh)


def test_losses_are_tried_with_their_defaults() -> None:
    targets = key_points(6)
    net = Sequential(maps=Conv2d(2, 1))
    model = Model(net, HeatMaps(stride=1, sigma=0.25), Adam(), input_shape=(1, 4, 4), metrics=())
    suspects = suspects_by_change(model, targets)
    changed = suspects["sigma = 1.0 in the loss"].apply(case_of(model, torch.rand(6, 1, 4, 4), targets, epochs=1))
    assert (changed.model.loss.sigma, changed.model.loss.stride) == (1.0, 1)
    assert not any("stride" in description for description in suspects)
    assert "sigma = 1.0 in the loss" not in suspects_by_change(
        Model(net, HeatMaps(stride=1, sigma=0.5), Adam(), input_shape=(1, 4, 4), metrics=()), targets
    )  # half of the default is usual


def test_a_stride_that_does_not_fit_the_maps_is_replaced() -> None:
    net = Sequential(maps=Conv2d(2, 3, stride=2, padding=1))
    model = Model(net, HeatMaps(stride=1), Adam(), input_shape=(1, 4, 4), metrics=())
    change = suspects_by_change(model, key_points(6))["stride = 2 in the loss"]
    changed = change.apply(case_of(model, torch.rand(6, 1, 4, 4), key_points(6), epochs=1))
    assert (changed.model.loss, change.unusual) == (HeatMaps(stride=2), True)


def pooling_model(**layers: Any) -> Model:
    net = Sequential(conv=Conv2d(4, 3), **layers, pool=AdaptiveAvgPool2d(), flat=Flatten(), out=Dense(2))
    return Model(net, Quadratic(), input_shape=(1, 4, 4), metrics=())


def layer_changes(model: Model, y: torch.Tensor) -> dict[str, Any]:
    case = case_of(model, torch.rand(8, 1, 4, 4), y)
    return {one.remedy.description: (one, one.apply(case)) for one in layer_suspects(case)}


def test_kinds_of_layers_are_replaced_by_plainer_ones() -> None:
    changes = layer_changes(pooling_model(norm=InstanceNorm2d(), act=GELU()), torch.rand(8, 2))
    no_norm, flattened = "no layer instead of InstanceNorm2d", "Flatten instead of AdaptiveAvgPool2d"
    assert {*changes} == {f"{no_norm} in inner layers", flattened}
    _, case = changes[flattened]
    assert case.model.weights["out.weight"].shape == (2, 16)


def test_pooled_positions_are_tried_for_values_alone() -> None:
    model = Model(pooling_model().net, SoftmaxCrossEntropy(), input_shape=(1, 4, 4), metrics=())
    assert not layer_changes(model, CLASSES)


def ended_case(epochs_made: int, epochs: int) -> Any:
    model = Model(Sequential(flatten=Flatten(), out=Dense(2)), SoftmaxCrossEntropy(), input_shape=(1, 4, 4))
    x = torch.rand(8, 1, 4, 4)
    history = model.fit(x, CLASSES, epochs=epochs_made, batch_size=4, verbose=False)
    return case_of(model, x, CLASSES, history=history, batch_size=4, epochs=epochs)


def test_the_schedule_of_a_training_that_ended_early_is_not_repeated_as_a_whole() -> None:
    trainings = PairedTrainings(task_of(ended_case(2, 6).model), ended_case(2, 6), lambda text: None)
    fractions: list[float] = []

    def recorded(model: Any, data: Any, size: int, augment: Any, settings: Any, planned: int) -> Any:
        fractions.append(settings.fraction * planned)
        return rehearse(model, data, size, augment, settings, planned)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pellucid.doctor.paired.rehearse", recorded)
        case = replace(trainings.case, validation=trainings.case.train)
        trainings.train(case, 0, 4)
        trainings.train(case, 0, 8)
    assert fractions == [4, 8]


def test_a_learning_rate_of_0_is_replaced_by_the_default() -> None:
    model = Model(Sequential(flatten=Flatten(), out=Dense(2)), SoftmaxCrossEntropy(), SGD(0.0), input_shape=(1, 4, 4))
    case = case_of(model, torch.rand(8, 1, 4, 4), CLASSES)
    (change,) = rate_suspects(case)
    assert change.apply(case).model.optimizer == SGD()


def test_the_dropout_of_a_generator_is_left_out() -> None:
    attend = Graph({"y": (Attention(rate=0.8), "x", "x", "x")}, ("y",), ("x",))
    net = Sequential(
        dense=Dense(16), drop=Dropout(0.5), tokens=Reshape((4, 4)), attend=attend, shape=Reshape((1, 4, 4))
    )
    gan = GAN(net, 4, Sequential(flatten=Flatten(), score=Dense(1)))
    model = Model(gan, input_shape=(1, 4, 4), metrics=())
    case = case_of(model, torch.rand(8, 1, 4, 4), torch.zeros(8), epochs=1)
    change = suspects_by_change(model, torch.zeros(8))["no dropout"]
    nets = change.apply(case).model.objective.nets
    assert (nets["generator"].layers["drop"], change.unusual) == (Dropout(0.0), True)
    assert nets["generator"].layers["attend"].layers["y"] == Attention()


def test_hyperparameters_far_from_the_defaults_are_unusual() -> None:
    net = Sequential(maps=Conv2d(2, 1))
    for optimizer, unusual in ((Adam(beta1=0.99), True), (Adam(beta1=0.5), False), (AdamW(weight_decay=5.0), True)):
        model = Model(net, HeatMaps(stride=1), optimizer, input_shape=(1, 4, 4), metrics=())
        change = suspects_by_change(model, key_points(6))["the optimizer's default hyperparameters"]
        assert change.unusual is unusual


def test_weaker_class_weights_are_tried_if_they_are_very_uneven() -> None:
    net = Sequential(scores=Conv2d(2, 1))
    y = torch.arange(96).view(6, 4, 4) % 2
    for weights, is_tried in (((0.01, 4.0), True), ((0.5, 2.0), False)):
        loss = SoftmaxCrossEntropy(class_weights=weights)
        model = Model(net, loss, Adam(), input_shape=(1, 4, 4), metrics=())
        change = suspects_by_change(model, y).get("square roots of the class weights")
        assert (change is not None) is is_tried
        if change is not None:
            changed = change.apply(case_of(model, torch.rand(6, 1, 4, 4), y, epochs=1)).model.loss
            assert changed.class_weights == pytest.approx((0.1, 2.0))


def test_options_of_an_objective_are_replaced_by_their_defaults() -> None:
    net = Sequential(dense=Dense(16), shape=Reshape((1, 4, 4)))
    critic = Sequential(flatten=Flatten(), score=Dense(1))
    model = Model(WGANGP(net, 4, critic, penalty=0.0, critic_steps=4), input_shape=(1, 4, 4), metrics=())
    suspects = suspects_by_change(model, torch.zeros(8))
    case = case_of(model, torch.rand(8, 1, 4, 4), torch.zeros(8), epochs=1)
    changed = suspects["penalty = 10.0 in the objective"].apply(case).model.objective
    assert (changed.penalty, changed.critic_steps) == (10.0, 4)
    assert not any("critic_steps" in description for description in suspects)
    model = Model(make_gan(GAN, loss="hinge"), input_shape=(1, 4, 4), metrics=())
    assert "loss = 'non_saturating' in the objective" in suspects_by_change(model, torch.zeros(8))


def test_images_beyond_0_to_1_are_scaled_for_networks_that_make_images() -> None:
    model = Model(make_gan(GAN), input_shape=(1, 4, 4), metrics=())
    x = 2 * torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 1
    case = case_of(model, x, torch.zeros(8), epochs=1)
    (change,) = [suspect for suspect in suspects(case) if suspect.finding.check == "image-range"]
    scaled = change.apply(case).train.x
    assert (float(scaled.min()), float(scaled.max())) == (0.0, 1.0)
    assert not [suspect for suspect in suspects(replace(case, train=replace(case.train, x=scaled)))
                if suspect.finding.check == "image-range"]  # fmt: skip


def test_scores_of_samples_are_computed_from_the_energy_distance() -> None:
    rng = np.random.default_rng(0)
    real, generated = rng.random((9, 1, 3, 3)), 0.5 + 0.1 * rng.random((7, 1, 3, 3))
    x, g = real.reshape(9, -1), generated.reshape(7, -1)

    def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        distances = [np.linalg.norm(p - q) for i, p in enumerate(a) for j, q in enumerate(b) if not same or i != j]
        return float(np.mean(distances))

    def distance(other: np.ndarray) -> float:
        return 2 * mean(x, other, False) - mean(x, x, True) - mean(other, other, True)

    noise = torch.randn(9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    blank = x.mean(0) + 1e-3 * noise
    likeness = scores([torch.from_numpy(one) for one in generated], [torch.from_numpy(one) for one in real])
    assert float(likeness.values.mean()) == pytest.approx(1 - distance(g) / distance(blank), rel=1e-3)
    assert float(scores(*[[torch.from_numpy(one) for one in real]] * 2).values.mean()) > 0.8
    single = [torch.from_numpy(real[0])]
    with pytest.raises(PellucidError, match="the likeness of samples needs at least 2 images, not 1"):
        scores(single, single)


@pytest.mark.slow
def test_a_relu_as_the_last_layer_for_key_points_is_the_cause() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(400, 1, 8, 8, generator=rng)
    centred = 12 * (x.flatten(1) - 0.5) @ torch.randn(64, 4, generator=rng) / 8 - 2
    y = torch.cat([centred.reshape(400, 2, 2), torch.full((400, 2, 1), 2.0)], 2)
    net = Sequential(flatten=Flatten(), hidden=Dense(32), relu=ReLU(), out=Dense(4), last=ReLU())
    model = Model(net, Coordinates(size=(8, 8)), Adam(1e-2), input_shape=(1, 8, 8), metrics=())
    train, validation = (x[:300], y[:300]), (x[300:], y[300:])
    history = model.fit(*train, epochs=20, batch_size=16, verbose=False)
    diagnosis = model.doctor(*train, validation=validation, history=history, epochs=20, batch_size=16)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("wrong-output", "cause")
    assert diagnosis.findings[0].evidence["lowest_gain"] > 0
