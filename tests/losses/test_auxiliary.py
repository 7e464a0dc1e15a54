"""The loss of networks with auxiliary classifiers: values, gradients against PyTorch's autograd, and a training."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten, Mode, ReLU
from pellucid.losses import AuxiliaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.models import googlenet
from pellucid.models.parts import network_with_auxiliaries
from pellucid.nested import flatten
from tests.training.small import digits

TWO_OUTPUT_SHAPES: Any = ((5,), (5,))
CLASS_WEIGHTS = (0.5, 1.0, 2.0, 0.25, 3.0)


def logits(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def classes() -> Tensor:
    return torch.randint(0, 5, (7,), generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("auxiliaries", [1, 2])
@pytest.mark.parametrize(
    ("loss", "weight", "options"),
    [
        (AuxiliaryCrossEntropy(), 0.3, {}),
        (AuxiliaryCrossEntropy(0.4, label_smoothing=0.1), 0.4, {"label_smoothing": 0.1}),
        (
            AuxiliaryCrossEntropy(2, class_weights=CLASS_WEIGHTS),
            2,
            {"weight": torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)},
        ),
    ],
)
def test_value_and_gradients_are_those_of_pytorch(loss, weight, options, auxiliaries) -> None:
    y = tuple(logits(seed) for seed in range(1 + auxiliaries))
    value, dy = loss(y, classes())
    leaves = [part.clone().requires_grad_() for part in y]
    main_loss, *auxiliary_losses = (F.cross_entropy(part, classes(), **options) for part in leaves)
    expected = main_loss + weight * torch.stack(auxiliary_losses).sum()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)
    for actual_dy, expected_dy in zip(dy, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(actual_dy, expected_dy, rtol=1e-11, atol=1e-15)


def test_loss_of_soft_targets_includes_every_output() -> None:
    y, target = (logits(0), logits(1)), logits(2).softmax(1)
    expected = F.cross_entropy(y[0], target) + 0.3 * F.cross_entropy(y[1], target)
    torch.testing.assert_close(AuxiliaryCrossEntropy()(y, target)[0], expected, rtol=1e-12, atol=0)


def test_loss_of_bfloat16_outputs_is_computed_in_float32() -> None:
    y = tuple(logits(seed, torch.bfloat16) for seed in (0, 1))
    value, dy = AuxiliaryCrossEntropy()(y, classes())
    expected = F.cross_entropy(y[0].double(), classes()) + 0.3 * F.cross_entropy(y[1].double(), classes())
    assert value.dtype is torch.float32
    assert {part.dtype for part in dy} == {torch.bfloat16}
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)


def test_evaluation_and_prediction_use_the_main_output() -> None:
    loss, y = AuxiliaryCrossEntropy(), (logits(0), logits(1))
    assert loss.main_output(y) is y[0]
    torch.testing.assert_close(
        loss(loss.main_output(y), classes())[0], F.cross_entropy(y[0], classes()), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(loss.predict(y), F.softmax(y[0], 1), rtol=1e-12, atol=0)
    torch.testing.assert_close(loss.predict(y[0]), F.softmax(y[0], 1), rtol=1e-12, atol=0)
    assert SoftmaxCrossEntropy().main_output(y[0]) is y[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AuxiliaryCrossEntropy(0.0), "weight must be a number above 0, not 0.0"),
        (lambda: AuxiliaryCrossEntropy(label_smoothing=2.0), "label_smoothing must be from 0 to 1"),
        (lambda: AuxiliaryCrossEntropy().check((5,), classes()), r"has one output \(5,\), no auxiliary ones"),
        (lambda: AuxiliaryCrossEntropy().check(((5,), (4,)), classes()), "outputs for 0 to 3"),
        (lambda: SoftmaxCrossEntropy().check(TWO_OUTPUT_SHAPES, classes()), "do not fit"),
        (lambda: AuxiliaryCrossEntropy()((logits(0)[:0], logits(1)[:0]), classes()[:0]), "without examples"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_refused(call, message) -> None:
    with pytest.raises(PellucidError, match=message) as error_info:
        call()
    assert "\n" not in str(error_info.value)


def small_network() -> Sequential:
    features = {"flatten": Flatten(), "dense1": Dense(24), "relu1": ReLU(), "dense2": Dense(24), "relu2": ReLU()}
    return network_with_auxiliaries(features, {"scores": Dense(10)}, {"auxiliary": ("relu1", Dense(10))})


def test_a_model_trains_on_all_outputs_and_is_evaluated_on_the_main_one(tmp_path) -> None:
    model = pellucid.Model(small_network(), "auxiliary_cross_entropy", pellucid.SGD(0.3), input_shape=(1, 8, 8))
    data = digits()
    initial_params = {path: leaf.clone() for path, leaf in flatten(model.params).items()}
    model.fit(data, epochs=4, batch_size=20, verbose=False)
    assert all(not torch.equal(leaf, initial_params[path]) for path, leaf in flatten(model.params).items())
    evaluation = model.evaluate(data)
    main_logits, _ = model.net.forward(model.params, data.x, Mode())[0]
    assert evaluation["loss"] == pytest.approx(F.cross_entropy(main_logits, data.y).item(), rel=1e-5)
    assert evaluation["accuracy"] == pytest.approx((main_logits.argmax(1) == data.y).double().mean().item())
    assert evaluation["accuracy"] > 0.8
    torch.testing.assert_close(model.predict(data.x), main_logits.softmax(1))
    model.save(tmp_path / "it.safetensors")
    loaded = pellucid.Model.load(tmp_path / "it.safetensors")
    assert loaded.loss == AuxiliaryCrossEntropy()
    assert loaded.evaluate(data) == evaluation
    assert model.verify(data.x[:4], data.y[:4]).ok


def test_auxiliary_loss_accepts_the_three_outputs_of_googlenet() -> None:
    net, loss = googlenet(classes=6, auxiliary=True), AuxiliaryCrossEntropy()
    with torch.device("meta"):
        _, shapes = net.init((3, 224, 224), torch.Generator())
    assert shapes == ((6,), (6,), (6,))
    loss.check(shapes, torch.tensor([0, 5]))
    with pytest.raises(PellucidError, match="the targets contain classes 0 to 6"):
        loss.check(shapes, torch.tensor([0, 6]))


def test_a_recipe_can_choose_the_auxiliary_loss() -> None:
    settings = {"loss.name": "auxiliary_cross_entropy", "loss.weight": 0.4, "loss.label_smoothing": 0.1}
    recipe = pellucid.load_recipe("mnist-lenet", {**settings, "network.model": "googlenet", "network.auxiliary": True})
    assert recipe.build("loss") == AuxiliaryCrossEntropy(0.4, label_smoothing=0.1)
    assert recipe.build("network") == googlenet(auxiliary=True)
