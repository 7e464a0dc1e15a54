"""LRP and ledgers of opened networks, against automatic differentiation with modified gradients."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.explain import ledger
from tests.opening.modified_gradients import relevance_of
from tests.opening.networks import (
    ConvNeXt,
    DeiT,
    EfficientNet,
    MobileNetV3,
    ResNet,
    ShuffleNet,
    Siamese,
    Swin,
    ViT,
)
from tests.opening.rare_operators import EinsumAttention, StandardizedWeights
from tests.opening.test_opened import build_network, images
from tests.opening.test_posted_networks import POSTED


class SegFormer(nn.Module):
    """Xie et al. 2021: overlapping patches, attention to a smaller image, and a depthwise convolution in the MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed, self.norm1 = nn.Conv2d(3, 8, 7, 4, 3), nn.LayerNorm(8)
        self.q, self.kv, self.sr, self.proj = nn.Linear(8, 8), nn.Linear(8, 16), nn.Conv2d(8, 8, 2, 2), nn.Linear(8, 8)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.dwconv, self.norm3 = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attention(self.norm1(x), h, w)
        y = self.fc1(self.norm2(x))
        y = self.dwconv(y.transpose(1, 2).reshape(n, 2 * c, h, w)).flatten(2).transpose(1, 2)
        return self.head(self.norm3(x + self.fc2(F.gelu(y))).mean(1))

    def attention(self, x: Tensor, h: int, w: int) -> Tensor:
        n, t, c = x.shape
        smaller = self.sr(x.transpose(1, 2).reshape(n, c, h, w)).flatten(2).transpose(1, 2)
        q = self.q(x).reshape(n, t, 2, c // 2).transpose(1, 2)
        k, v = self.kv(smaller).reshape(n, -1, 2, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, c))


NETWORK_PARAMS = [
    ResNet,
    ViT,
    DeiT,
    ConvNeXt,
    MobileNetV3,
    EfficientNet,
    Swin,
    Siamese,
    ShuffleNet,
    SegFormer,
    StandardizedWeights,
    EinsumAttention,
]


COMPOSITES = ("cp_lrp", "attn_lrp", "epsilon_plus", "epsilon_alpha2_beta1_flat", "epsilon")
X = images(2)


@cache
def open_model(kind: type[nn.Module]) -> pellucid.Model:
    return pellucid.open(build_network(kind), X, classes=5)


@cache
def expected_relevance(kind: type[nn.Module], composite: str) -> Any:
    return relevance_of(build_network(kind).eval(), X, 1, composite == "cp_lrp")


@pytest.mark.parametrize("kind", NETWORK_PARAMS)
@pytest.mark.parametrize("composite", ["cp_lrp", "attn_lrp"])
def test_relevance_is_the_input_times_the_modified_gradient(kind: type[nn.Module], composite: str) -> None:
    explanation = open_model(kind).explain(X, "lrp", target=1, composite=composite, epsilon=1e-16)
    relevance, _, _ = expected_relevance(kind, composite)
    assert float((explanation - relevance).abs().max() / relevance.abs().max()) <= 1e-10


@pytest.mark.parametrize("kind", NETWORK_PARAMS)
@pytest.mark.parametrize(
    ("composite", "options"),
    [*((name, {}) for name in COMPOSITES), ("attn_lrp", {"gamma": 0.25, "epsilon": 0.1})],
    ids=str,
)
def test_the_ledger_sums_to_the_score(kind: type[nn.Module], composite: str, options: dict[str, float]) -> None:
    model = open_model(kind)
    explanation = ledger(model.net, model.params, X, 1, composite=composite, **options)
    score = float(build_network(kind).eval()(X)[:, 1].sum().detach())
    assert explanation.score == pytest.approx(score, rel=1e-12)
    assert abs(
        score - float(explanation.map.sum()) - sum(one.relevance for one in explanation.absorbed)
    ) <= 1e-10 * abs(score)
    assert abs(explanation.gap) <= 1e-10 * abs(score)


@pytest.mark.parametrize("kind", [ViT, DeiT, ConvNeXt, Swin, SegFormer, StandardizedWeights, EinsumAttention])
@pytest.mark.parametrize("composite", ["cp_lrp", "attn_lrp"])
def test_the_parts_of_the_ledger_are_parameters_times_their_modified_gradients(kind: Any, composite: str) -> None:
    model = open_model(kind)
    explanation = ledger(model.net, model.params, X, 1, composite=composite, epsilon=1e-16)
    relevance, weight_relevance, scores = expected_relevance(kind, composite)
    shares = {
        key: float(part.sum())
        for key, part in weight_relevance.items()
        if key.endswith("bias") or not key.endswith("weight")
    }
    keys = {"bias": "{}.bias", "parameter": "{}"}
    absorbed: dict[str, float] = {}
    for one in explanation.absorbed:
        if one.cause in keys:  # a layer that is used twice has two entries
            key = keys[one.cause].format(one.path)
            absorbed[key] = absorbed.get(key, 0.0) + one.relevance
    size = float(scores.abs().sum())
    for key in shares | absorbed:
        assert absorbed.get(key, 0.0) == pytest.approx(shares.get(key, 0.0), rel=1e-8, abs=1e-10 * size), key
    unattributed = float(scores.sum() - relevance.sum()) - sum(shares.values())
    other_causes = {cause: part for cause, part in explanation.by_cause().items() if cause not in keys}
    assert other_causes.get("softmax", 0.0) + other_causes.get("constant", 0.0) == pytest.approx(
        unattributed, abs=1e-9 * size
    )
    assert abs(other_causes.get("stabilizer", 0.0)) <= 1e-9 * size
    assert (
        composite == "attn_lrp"
        or kind in (Swin, StandardizedWeights, EinsumAttention)
        or abs(unattributed) <= 1e-9 * size
    )


def test_the_text_of_a_ledger_lists_score_and_causes() -> None:
    model = open_model(ViT)
    text = str(ledger(model.net, model.params, X, 1, composite="cp_lrp"))
    assert text.startswith("score ")
    assert "  parameter" in text
    assert "pos_embedding (Learned), parameter: " in text
    assert text.splitlines()[-1].startswith("and ")


def test_a_model_returns_the_ledger_of_its_explanation() -> None:
    model = open_model(ViT)
    explanation = model.ledger(X, 1, composite="attn_lrp")
    assert torch.equal(explanation.map, model.explain(X, "lrp", target=1, composite="attn_lrp"))
    assert abs(explanation.gap) <= 1e-10 * abs(explanation.score)


@pytest.mark.parametrize("row", [3, 15, 27], ids=["query", "key", "value"])
def test_a_trace_explains_weights_of_attention_up_to_the_loss(row: int) -> None:
    network, labels = build_network(ViT).eval(), torch.tensor([0])
    weight = network.get_parameter("blocks.0.self_attention.in_proj_weight")
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(X[:1]), labels), weight)
    explanation = open_model(ViT).trace(X[:1], labels).explain(f"blocks.0.self_attention.in_proj_weight[{row}, 2]")
    assert explanation.gradient == pytest.approx(float(gradient[row, 2]), rel=1e-9)
    assert all(abs(link.total - link.gradient) <= link.bound for link in explanation.links)
    titles = {link.title for link in explanation.links}
    assert any(title.startswith("Attention") for title in titles)
    assert any(link.where == "loss" for link in explanation.links)


def without_biases(name: str, seed: int) -> tuple[nn.Module, Tensor]:
    kind, shape = POSTED[name]
    torch.manual_seed(seed)
    network = kind().double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network, torch.randn(2, *shape, dtype=torch.float64)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["CBAMClassifier", "GeMRetrieval"])
def test_without_biases_relevance_reaches_the_input_if_gates_are_constant(name: str, seed: int) -> None:
    network, x = without_biases(name, seed)
    model = pellucid.open(network, x)
    account = model.ledger(x, composite="cp_lrp")
    assert account.input == pytest.approx(account.score, rel=2e-3)
    for composite in ("epsilon", "epsilon_plus", "attn_lrp"):
        account = model.ledger(x, composite=composite)
        assert abs(account.gap) <= 1e-10 * abs(account.score)
