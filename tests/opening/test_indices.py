"""Networks that take tokens, classes or times as whole numbers: gradients, and maps at their embeddings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import PellucidError
from tests.oracle import assert_close


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class TextCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8, padding_idx=0)
        self.conv, self.head = nn.Conv1d(8, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.table(x).transpose(1, 2)).relu().mean(2))


class Transformer(nn.Module):
    """A classifier of sentences with padding, by an encoder layer of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(20, 8), nn.Embedding(10, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        known = x != 0
        h = self.table(x) + self.places(torch.arange(x.shape[1]))
        h = self.encoder(h, src_key_padding_mask=~known)
        weights = known.unsqueeze(-1).to(h.dtype)
        return self.head((h * weights).sum(1) / weights.sum(1).clamp(min=1))


class ConditionalImage(nn.Module):
    """A projection discriminator with a class, as in Miyato and Koyama 2018, and a plane made of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.plane, self.classes = nn.Embedding(5, 16), nn.Embedding(5, 3)
        self.conv = nn.Conv2d(4, 3, 3)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        h = self.conv(torch.cat([image, self.plane(label).view(-1, 1, 4, 4)], 1)).tanh().mean((2, 3))
        return (h * self.classes(label)).sum(1)


class Denoiser(nn.Module):
    """A network of images and times, with sines of the times."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.conv, self.out = nn.Linear(8, 4), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        angles = times[:, None].to(x.dtype) * torch.exp(-torch.arange(4.0))[None]
        embedded = self.linear(torch.cat([angles.sin(), angles.cos()], 1))
        return self.out(self.conv(x).relu() + embedded[:, :, None, None])


class ClickModel(nn.Module):
    """Numbers of several fields with offsets in one table, and of one field as one-hot vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.bias = nn.Embedding(12, 4), nn.Embedding(12, 1)
        self.register_buffer("offsets", torch.tensor([0, 5, 9]))

    def forward(self, x: Tensor) -> Tensor:
        at = x + self.offsets
        v = self.table(at)
        pairs = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)
        first = nn.functional.one_hot(x[:, 0], 5).to(v.dtype) @ torch.linspace(0, 1, 5)
        return pairs + self.bias(at).sum((1, 2)) + first


NETWORKS: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "text": (TextCNN, (torch.tensor([[3, 0, 5, 0, 0, 1], [19, 18, 3, 3, 2, 1]]),)),
    "int32": (TextCNN, (torch.tensor([[3, 4, 5, 0], [9, 8, 3, 3]], dtype=torch.int32),)),
    "padding": (Transformer, (torch.tensor([[3, 4, 5, 0, 0], [1, 2, 3, 4, 0], [7, 7, 2, 1, 9]]),)),
    "class": (ConditionalImage, (torch.rand(3, 3, 4, 4), torch.tensor([0, 3, 4]))),
    "times": (Denoiser, (torch.rand(3, 3, 6, 6), torch.tensor([1, 50, 200]))),
    "fields": (ClickModel, (torch.tensor([[4, 3, 0], [0, 1, 2], [2, 2, 2]]),)),
}


def opened(name: str) -> tuple[nn.Module, Any, pellucid.Model]:
    torch.manual_seed(0)
    kind, inputs = NETWORKS[name]
    network = kind().eval()
    inputs = tuple(x.to(torch.get_default_dtype()) if x.is_floating_point() else x for x in inputs)
    given = inputs[0] if len(inputs) == 1 else inputs
    return network, given, pellucid.open(network, given)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_equal_pytorchs(name: str) -> None:
    network, given, model = opened(name)
    inputs = given if isinstance(given, tuple) else (given,)
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    expected = network(*leaves)
    assert_close(model(given), expected.detach(), 1e-12)
    dy = torch.randn(expected.shape)
    wanted = [x for x in leaves if x.requires_grad] + list(network.parameters())
    references = torch.autograd.grad(expected, wanted, dy)
    gradients: Any = model.gradients(given, dy)
    dxs = gradients["input"] if isinstance(given, tuple) else (gradients["input"],)
    ours = [dx for dx, x in zip(dxs, leaves, strict=True) if x.requires_grad]
    ours += [gradients[key] for key, _ in network.named_parameters()]
    for gradient, reference in zip(ours, references, strict=True):
        assert_close(gradient, reference, 1e-10)


@pytest.mark.parametrize("name", ["text", "padding"])
def test_maps_equal_captums_at_the_embedding(name: str) -> None:
    attr = pytest.importorskip("captum.attr")
    network, given, model = opened(name)
    baseline = torch.zeros_like(given)
    method = attr.LayerIntegratedGradients(network, network.table)
    expected = method.attribute(given, baseline, target=1, n_steps=20).detach()
    vectors = network.table(baseline).detach()
    map_ = model.explain(given, "integrated_gradients", 1, steps=20, baseline=vectors)
    assert_close(map_.as_subclass(Tensor), expected, 1e-9)


@pytest.mark.parametrize("name", ["text", "padding", "class", "fields"])
def test_input_times_gradient_is_that_of_the_vectors(name: str) -> None:
    network, given, model = opened(name)
    inputs = given if isinstance(given, tuple) else (given,)
    read: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings != 10:  # not the table of places
            module.register_forward_hook(lambda *call: read.append(call[2]))
    target = 1 if name in ("text", "padding") else None
    y = network(*inputs)
    score = y[:, 1].sum() if target == 1 else y.sum()
    gradients = torch.autograd.grad(score, read)
    maps = model.explain(given, "input_x_gradient", target)
    ours = [map_ for map_ in (maps if isinstance(maps, tuple) else (maps,)) if map_.shape in [v.shape for v in read]]
    assert len(ours) == len(read)
    for map_, vectors, gradient in zip(ours, read, gradients, strict=True):
        assert_close(map_.as_subclass(Tensor), (vectors * gradient).detach(), 1e-10)


def test_relevance_of_tokens_closes_the_ledger() -> None:
    for name in ("text", "padding", "class"):
        _, given, model = opened(name)
        account = model.ledger(given, None if name == "class" else 1, composite="epsilon")
        assert abs(account.gap) <= 1e-10 * abs(account.score)


class Quantized(nn.Module):
    """The nearest of some vectors, read at a position that the image decides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.codes, self.head = nn.Conv2d(3, 4, 2, 2), nn.Embedding(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x).flatten(2).mT
        nearest = torch.cdist(h, self.codes.weight[None].expand(len(h), -1, -1)).argmin(-1)
        code = self.codes(nearest)
        return self.head((h + (code - h).detach()).mean(1))


def test_vectors_that_an_image_chooses_are_no_input() -> None:
    torch.manual_seed(0)
    network, x = Quantized().eval(), torch.rand(2, 3, 4, 4, requires_grad=True)
    model = pellucid.open(network, x.detach())
    expected = torch.autograd.grad(network(x)[:, 1].sum(), x)[0]
    assert_close(model.explain(x.detach(), "saliency", 1, signed=True).as_subclass(Tensor), expected, 1e-10)


def test_what_is_no_index_is_refused() -> None:
    network, given, model = opened("text")
    with pytest.raises(PellucidError, match="indices must be whole numbers below 20"):
        model(given + 0.5)
    with pytest.raises(PellucidError, match="indices must be whole numbers below 20"):
        model(given + 10)
    with pytest.raises(PellucidError, match="of floats, or of int64 for indices"):
        pellucid.open(network, given > 0)
    with pytest.raises(PellucidError, match="has no whole numbers above 256"):
        pellucid.open(network.float(), given, precision="bf16")
    _, given, model = opened("padding")
    with pytest.raises(PellucidError, match="smoothgrad changes all inputs, and the network also uses indices"):
        model.explain(given, "smoothgrad", 0)


def test_a_saved_network_of_indices_takes_them_as_floats(tmp_path: Path) -> None:
    network, tokens = TextCNN(), torch.randint(20, (2, 7))
    pellucid.open(network, tokens).save(tmp_path / "net.safetensors")
    loaded = pellucid.Model.load(tmp_path / "net.safetensors")
    assert_close(loaded(tokens.float()), network(tokens).detach().to(loaded(tokens.float()).dtype), 1e-5)
    with pytest.raises(PellucidError, match=r"x is int64; .* or indices as floats, x\.float\(\)"):
        loaded(tokens)
