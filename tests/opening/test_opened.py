"""Opened networks against the PyTorch networks: outputs, all gradients, training and saved files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import pellucid
from pellucid.data.source import Batch
from pellucid.layers import Layer, Mode
from pellucid.losses import LOSSES
from pellucid.nested import map_tree
from pellucid.network.summary import multiply_adds
from pellucid.operators import Convolve, Einsum, MatMul
from pellucid.training.device import usable_precision
from pellucid.training.step import TrainingStep
from pellucid.verify.table import FLOOR
from tests.opening.networks import (
    NETWORKS,
    ConvNeXt,
    ResNet,
    Siamese,
    Swin,
    ViT,
)


def build_network(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = kind().double()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):  # statistics and scales as after training
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                assert tensor is not None
                tensor.data = torch.rand_like(tensor) + 0.5
    return network


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def autograd_gradients(network: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad(network(x), [x, *weights.values()], dy, allow_unused=True)
    return {key: gradient for key, gradient in zip(("input", *weights), gradients, strict=True) if gradient is not None}


def assert_equal_gradients(
    gradients: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10, floor: float = FLOOR
) -> None:
    """Compare relative to each gradient's largest value, plus `floor` times the network's largest gradient."""
    assert gradients.keys() == expected.keys()
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in expected.values()))
    for key, gradient in expected.items():
        assert gradients[key].shape == gradient.shape, key
        gap = float((gradients[key] - gradient).abs().max())
        assert gap <= tolerance * float(gradient.abs().max()) + floor * largest, f"{key}: {gap:.1e}"


@pytest.mark.parametrize("kind", NETWORKS)
def test_outputs_and_gradients_equal_the_networks(kind: type[nn.Module]) -> None:
    network = build_network(kind).eval()
    model = pellucid.open(network, images(2))
    for count in (1, 5):  # another number of examples than in the export
        x = images(count, seed=count)
        y = model(x)
        torch.testing.assert_close(y, network(x).detach(), rtol=1e-12, atol=1e-12)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))


@pytest.mark.parametrize("kind", NETWORKS)
def test_training_mode_equals_the_networks(kind: type[nn.Module]) -> None:
    network = build_network(kind).train()
    model = pellucid.open(network, images(2))
    assert network.training
    x = images(4)
    y = network(x)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    network.load_state_dict(before)
    expected = autograd_gradients(network, x, dy)
    output, _ = model.net.forward(map_tree(torch.clone, model.params), x, Mode(train=True))
    torch.testing.assert_close(output, y.detach(), rtol=1e-12, atol=1e-12)
    assert_equal_gradients(model.gradients(x, dy, train=True), expected)
    counts = {key for key in before if key.endswith("num_batches_tracked")}
    for key, value in network.state_dict().items():
        if key not in counts:
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", NETWORKS)
def test_float32_equals_the_networks_up_to_rounding(kind: type[nn.Module]) -> None:
    network, x = build_network(kind).float().eval(), images(3).float()
    model = pellucid.open(network, x)
    y = network(x).detach()
    assert (model(x) - y).abs().max() <= 1e-5 * y.abs().max()
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy), 1e-4, 1e-6)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.dropout, self.last = nn.Linear(48, 1000), nn.Dropout(0.25), nn.Linear(1000, 5)
        self.factors: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x[:, :, ::4, ::4].flatten(1)))
        return self.last(self.dropout(x) if self.factors is None else x * self.factors)


def test_gradients_through_dropout_have_the_factors_of_its_mask() -> None:
    network, x = build_network(Dropping).train(), images(1)
    model = pellucid.open(network, images(2))
    dy = torch.randn(1, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = model.gradients(x, dy, train=True)
    assert isinstance(network, Dropping)
    hidden = torch.tanh(network.first(x[:, :, ::4, ::4].flatten(1)))
    factors = (gradients["last.weight"][0] / (dy[0, 0] * hidden[0])).detach()  # dC/dw = dy hidden factor
    assert ((factors.abs() < 1e-9) | ((factors - 4 / 3).abs() < 1e-9)).all()
    assert 0.7 <= (factors > 0).double().mean() <= 0.8
    network.factors = (factors > 0.5).double() * 4 / 3
    assert_equal_gradients(gradients, autograd_gradients(network, x, dy))


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_have_the_keys_of_the_state_dict_and_load_into_the_network(kind: type[nn.Module]) -> None:
    network = build_network(kind).eval()
    model = pellucid.open(network, images(2))
    learned = dict(network.named_parameters())
    assert learned.keys() <= model.weights.keys()
    for key, tensor in model.weights.items():
        if key in learned:
            tensor.mul_(1.25)
    assert all(not torch.equal(model.weights[key], tensor) for key, tensor in learned.items() if tensor.any())
    other = build_network(kind, seed=9).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(images(3)).detach(), model(images(3)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", NETWORKS)
def test_saved_models_load_with_the_same_outputs(kind: type[nn.Module], tmp_path: Path) -> None:
    model, file = pellucid.open(build_network(kind), images(2)), tmp_path / "opened.safetensors"
    model.save(file)
    assert torch.equal(pellucid.Model.load(file)(images(3)), model(images(3)))


def test_nodes_have_the_paths_of_the_modules() -> None:
    paths = [row.path for row in pellucid.open(build_network(ResNet), images(2)).summary().rows]
    block = [path.removeprefix("layer1.1.") for path in paths if path.startswith("layer1.1.")]
    assert block == [
        "conv1", "bn1", "relu", "conv2", "bn2", "downsample.0", "downsample.1", "add", "relu~2",
    ]  # fmt: skip
    assert paths[-3:] == ["avgpool", "flatten", "fc"]


@pytest.mark.slow
def test_summary_counts_every_parameter_and_the_multiply_adds_that_pytorch_counts() -> None:
    for kind in NETWORKS:
        network = build_network(kind)
        counted = sum(part.numel() for part in network.parameters())
        model = pellucid.open(network, images(2))
        summary = model.summary()
        assert summary.parameters == counted, kind
        x = torch.zeros(1, *model.nominal_shape, dtype=torch.float64)
        with FlopCounterMode(display=False) as flops, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            network(x)  # PyTorch counts the products of attention only in its slow form
        assert 2 * summary.multiply_adds == flops.get_total_flops(), kind


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (Convolve((2, 1), (1, 0), (1, 2), groups=2), ((1, 4, 9, 9), (6, 2, 3, 3))),
        (Convolve((2,), (1,), (1,), transposed=True), ((1, 4, 9), (4, 3, 4))),
        (Einsum("nhij,nhjd->nhid"), ((1, 2, 5, 6), (1, 2, 6, 3))),
        (MatMul(), ((1, 2, 5, 6), (1, 2, 6, 3))),
    ],
    ids=str,
)
def test_multiply_adds_of_operators_are_half_of_what_pytorch_counts(layer: Layer, shapes: tuple[Any, ...]) -> None:
    xs = tuple(torch.rand(shape) for shape in shapes)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        y, _ = layer.forward({}, xs, Mode())
    assert 2 * multiply_adds(layer, {}, xs, y) == flops.get_total_flops() > 0


def test_an_einsum_of_one_tensor_has_no_multiply_adds() -> None:
    x = torch.rand(1, 3, 4)
    assert multiply_adds(Einsum("nij->ni"), {}, x, x.sum(2)) == 0


def test_a_module_used_twice_is_one_node_with_two_uses() -> None:
    model = pellucid.open(build_network(Siamese), images(2))
    rows = {row.path: row.uses for row in model.summary().rows}
    assert rows["arm.0"] == rows["arm.1"] == 2
    assert rows["embed.weight"] == 1


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 0] *= 2  # writes into a view of x, which is read afterwards
        return x.flatten(1)


def test_writes_into_views_are_exact() -> None:
    x = images(3)
    model = pellucid.open(Halves(), x)
    dy = torch.ones(3, 3 * 16 * 16, dtype=torch.float64)
    assert torch.equal(model(x), Halves()(x))
    assert torch.equal(model.gradients(x, dy)["input"], autograd_gradients(Halves(), x, dy)["input"])


def test_modules_that_differ_in_training_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    class Depth(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0.5 if self.training else x

    pellucid.open(nn.Sequential(Depth(), nn.Flatten()), images(2))
    assert "0 (Depth) may compute something else in training" in capsys.readouterr().err
    pellucid.open(Depth(), images(2))
    assert "the network itself (Depth) may compute something else in training" in capsys.readouterr().err
    pellucid.open(build_network(ResNet), images(2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [ResNet, ViT])
def test_fine_tuning_equals_training_in_pytorch(kind: type[nn.Module]) -> None:
    network = build_network(kind).train()
    model = pellucid.open(network, images(2), optimizer=pellucid.Momentum(0.05, momentum=0.9), classes=5)
    x, labels = images(40), torch.arange(40) % 5
    model.fit(x, labels, epochs=20, batch_size=40, verbose=False)  # one batch in each epoch
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels).backward()
        optimizer.step()
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", [ViT, ConvNeXt, Swin])
def test_a_step_in_bf16_equals_pytorchs_up_to_rounding(kind: type[nn.Module]) -> None:
    """Position embeddings, layer scale and masks are also bfloat16, as layers that add them to activations need."""
    if usable_precision("bf16")[0] != "bf16":
        pytest.skip("this processor has no bfloat16 instructions")
    network, x, labels = build_network(kind).float().train(), images(20).float(), torch.arange(20) % 5
    loss = F.cross_entropy(network(x), labels)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    model = pellucid.open(network, x[:2], classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step = TrainingStep(model.objective, model.params, pellucid.SGD(1.0), examples=20, precision="bf16")
    assert step(Batch(x, labels), 1.0)["loss"] == pytest.approx(loss.item(), rel=0.02)
    after = model.state_dict()
    update = torch.cat([(before[key] - after[key]).flatten() for key, _ in network.named_parameters()])
    expected_update = torch.cat([one.flatten() for one in expected])
    assert (update - expected_update).norm() <= 0.05 * expected_update.norm()


def test_swin_and_convnext_are_verified_and_traced() -> None:
    for kind in (ConvNeXt, Swin):
        model = pellucid.open(build_network(kind), images(2), classes=5)
        x, labels = images(2), torch.tensor([0, 3])
        assert model.verify(x, labels, samples=2).ok
        trace = model.trace(x[:1], labels[:1])
        assert trace["head.weight"].shape == (5, 6 if kind is ConvNeXt else 8)
        gradient = model.explain(x, "saliency", target=2, signed=True)
        dy = F.one_hot(torch.tensor([2, 2]), 5).double()
        torch.testing.assert_close(
            gradient, autograd_gradients(build_network(kind).eval(), x, dy)["input"], rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("module", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2)), nn.Conv2d(3, 2, 1)])
def test_the_state_dict_has_the_trained_weights_also_of_a_single_layer(module: nn.Module) -> None:
    x = torch.rand(4, 3) if "Linear" in str(module) else torch.rand(4, 3, 2, 2)
    model = pellucid.open(module, x)
    with torch.no_grad():
        for weight in model.weights.values():
            weight.add_(1)
    state = model.state_dict()
    for key, tensor in module.state_dict().items():
        torch.testing.assert_close(state[key], tensor + 1)


def test_the_summary_has_the_size_of_the_example() -> None:
    model = pellucid.open(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), torch.rand(1, 3, 20, 12))
    assert model.input_shape == (3, None, None)
    assert model.summary().multiply_adds == 4 * 20 * 12 * 27
    assert model.summary(input_shape=(3, 30, 30)).multiply_adds == 4 * 30 * 30 * 27
    assert "4 x 20 x 12" in str(model)


ENDINGS = {
    "scores": ([], "softmax_cross_entropy", ""),
    "probabilities": ([nn.Softmax(1)], "quadratic", "ends in Softmax"),
    "probabilities, reshaped": (
        [nn.Softmax(1), nn.Identity(), nn.Unflatten(1, (1, 5))],
        "quadratic",
        "ends in Softmax",
    ),
    "logarithms": ([nn.LogSoftmax(1)], "nll", ""),
    "independent probabilities": ([nn.Sigmoid()], "probability_cross_entropy", ""),
    "one number": ([nn.Linear(5, 1)], "quadratic", "one number an example"),
    "one number without an axis": ([nn.Linear(5, 1), nn.Flatten(0)], "quadratic", "one number an example"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_default_loss_follows_from_the_end_of_the_network(ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    layers, loss, text = ENDINGS[ending]
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), *layers)
    model = pellucid.open(network, torch.rand(3, 3, 4, 4))
    assert type(model.objective.loss) is LOSSES[loss]
    error = capsys.readouterr().err
    assert text in error
    assert bool(text) == ("default loss" in error)
    pellucid.open(network, torch.rand(3, 3, 4, 4), loss="quadratic")
    assert "default loss" not in capsys.readouterr().err
