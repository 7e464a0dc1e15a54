"""Swin equals a PyTorch module with cyclic shifts, index tables and masks of -100, and has the published numbers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.explain import ledger
from pellucid.fuse import fuse
from pellucid.layers import Mode
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import swin
from pellucid.nested import flatten
from pellucid.network.summary import summary
from tests.models.zoo import init_on_meta
from tests.opening.modified_gradients import relevance_of
from tests.oracle import Sample, difference, forward_backward

SMALL_OPTIONS = {"classes": 5, "side": 32, "window": 2, "width": 8, "depths": (2, 1, 2), "heads": 2}


class WindowAttention(nn.Module):
    """Attention within windows of `side` x `side` tokens, as in the authors' code (Liu et al. 2021, section 3.2)."""

    def __init__(self, width: int, heads: int, grid: int, side: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.position_bias = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        positions = [(row, column) for row in range(side) for column in range(side)]
        self.index = torch.tensor(
            [[(a - c + side - 1) * (2 * side - 1) + b - d + side - 1 for c, d in positions] for a, b in positions]
        )
        regions, region = torch.zeros(1, grid, grid, 1), 0
        for rows in (slice(0, -side), slice(-side, -shift), slice(-shift, None)) if shift else ():
            for columns in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
                regions[:, rows, columns], region = region, region + 1
        window_regions = self.split(regions).squeeze(-1)
        self.mask = torch.where(window_regions[:, None, :] == window_regions[:, :, None], 0.0, -100.0).double()

    def split(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = x.view(n, h // self.side, self.side, w // self.side, self.side, c)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.side**2, c)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        windows = self.split(x.roll((-self.shift, -self.shift), (1, 2)))
        count, area = self.mask.shape[:2]
        q, k, v = self.qkv(windows).view(-1, area, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / (c // self.heads) ** 0.5 + self.position_bias[self.index].permute(2, 0, 1)
        scores = scores.view(n, count, self.heads, area, area) + self.mask[:, None]
        y = (scores.softmax(-1).flatten(0, 1) @ v).transpose(1, 2).reshape(-1, area, c)
        y = self.project(y).view(n, h // self.side, w // self.side, self.side, self.side, c)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return y.roll((self.shift, self.shift), (1, 2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, grid: int, side: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.attend = nn.LayerNorm(width), WindowAttention(width, heads, grid, side, shift)
        self.norm2, self.expand, self.project = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.project(F.gelu(self.expand(self.norm2(x))))


class Merge(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduce(self.norm(x))


class ReferenceSwin(nn.Module):
    """The network of SMALL_OPTIONS."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.stage1 = nn.Sequential(Block(8, 2, 8, 2, 0), Block(8, 2, 8, 2, 1))
        self.merge2, self.stage2 = Merge(8), nn.Sequential(Block(16, 4, 4, 2, 0))
        self.merge3, self.stage3 = Merge(16), nn.Sequential(Block(32, 8, 2, 2, 0), Block(32, 8, 2, 2, 0))
        self.last, self.scores = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.first(self.conv(x).permute(0, 2, 3, 1)))
        x = self.stage3(self.merge3(self.stage2(self.merge2(x))))
        return self.scores(self.last(x).mean((1, 2)))


PATH_REPLACEMENTS = {
    "features.patches.conv.": "conv.",
    "features.patches.norm.": "first.",
    "features.last.norm.": "last.",
    "head.": "",
    "features.": "",
    ".block": ".",
    ".attention.body.norm.": ".norm1.",
    ".attention.body.attend.": ".attend.",
    ".units.body.norm.": ".norm2.",
    ".units.body.": ".",
}  # from Pellucid's path to that of ReferenceSwin, replaced in this order


def reference_path(path: str) -> str:
    """Return the path of a parameter in ReferenceSwin."""
    for own_part, reference_part in PATH_REPLACEMENTS.items():
        path = path.replace(own_part, reference_part)
    if path.startswith("stage"):  # our blocks are counted from 1
        stage, number, *rest = path.split(".")
        path = ".".join([stage, str(int(number) - 1), *rest])
    return path.replace("distances", "position_bias")


def to_reference_shape(path: str, value: Tensor) -> Tensor:
    """Return a bias table (1, heads, 2w - 1, 2w - 1) as ((2w - 1)², heads), and other parameters unchanged."""
    return value[0].flatten(1).t() if path.endswith("distances") else value


def test_outputs_and_gradients_are_those_of_the_authors_steps() -> None:
    sample = Sample(swin(**SMALL_OPTIONS), (3, 32, 32))
    params, x = sample.inputs(3)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    reference = ReferenceSwin().double()
    leaves = {path: leaf for path, leaf in flatten(params).items() if not path.endswith(".mask")}
    reference.load_state_dict({reference_path(path): to_reference_shape(path, leaf) for path, leaf in leaves.items()})
    x = x.clone().requires_grad_()
    expected = reference(x)
    expected.backward(dy)
    assert difference(y, expected.detach()) < 1e-12
    assert difference(dx[""], x.grad) < 1e-10
    gradients = {path.rstrip("."): leaf for path, leaf in dparams.items()}  # a node's own parameter has no name
    assert gradients.keys() == leaves.keys()
    for path, leaf in gradients.items():
        expected_gradient = reference.get_parameter(reference_path(path)).grad
        assert difference(to_reference_shape(path, leaf), expected_gradient) < 1e-10, path


def test_the_fused_form_computes_the_same() -> None:
    sample = Sample(swin(**SMALL_OPTIONS), (3, 32, 32), train=True)
    params, x = sample.inputs(2)
    y, dy, _, dparams = forward_backward(sample.layer, params, x, sample.mode())
    fused_y, _, _, fused_dparams = forward_backward(fuse(sample.layer), params, x, sample.mode(), dy)
    assert difference(fused_y, y) < 1e-12
    assert fused_dparams.keys() == dparams.keys()
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-12, path


@pytest.mark.parametrize(
    ("options", "parameters", "billions"),
    [
        ({}, 28_288_354, 4.491),
        ({"depths": (2, 2, 18, 2)}, 49_606_258, 8.741),
        ({"depths": (2, 2, 18, 2), "width": 128, "heads": 4}, 87_768_224, 15.431),
    ],
    ids=["Swin-T", "Swin-S", "Swin-B"],
)
def test_the_numbers_are_those_of_torchvisions_documentation(
    options: dict[str, int], parameters: int, billions: float
) -> None:
    net = swin(**options)
    params, out = init_on_meta(net, (3, 224, 224))
    summary_ = summary(net, params, (3, 224, 224))
    assert (summary_.parameters, out) == (parameters, (1000,))
    assert round(summary_.multiply_adds / 1e9, 3) == billions


def test_features_are_maps() -> None:
    net = swin(**SMALL_OPTIONS)
    params, _ = net.init((3, 32, 32), torch.Generator().manual_seed(0))
    maps, _ = net.children["features"].forward(params["features"], torch.rand(2, 3, 32, 32), Mode())
    assert maps.shape == (2, 32, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 48}, "swin: side must be a multiple of 32, for windows in each stage, not 48"),
        ({"heads": 3}, "swin: heads must be a divisor of width=8, not 3"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        swin(**{**SMALL_OPTIONS, **options})


def test_a_saved_network_keeps_its_masks(tmp_path: Path) -> None:
    model = Model(swin(**SMALL_OPTIONS), SoftmaxCrossEntropy(), input_shape=(3, 32, 32))
    x, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    model.fit(x, labels, epochs=1, batch_size=2)
    model.save(tmp_path / "swin.safetensors")
    loaded = Model.load(tmp_path / "swin.safetensors")
    mask = flatten(loaded.params)["features.stage1.block2.attention.body.attend.mask"]
    assert mask.dtype is torch.bool
    assert not bool(mask.all())
    assert torch.equal(loaded.predict(x), model.predict(x))


@pytest.mark.heavy
@pytest.mark.slow
def test_verify_finds_no_wrong_gradient() -> None:
    model = Model(swin(**SMALL_OPTIONS), SoftmaxCrossEntropy(), input_shape=(3, 32, 32))
    assert model.verify(torch.rand(2, 3, 32, 32), torch.tensor([0, 1])).ok


@pytest.mark.parametrize("composite", ["cp_lrp", "attn_lrp"])
def test_relevance_is_the_input_times_the_modified_gradient_and_the_ledger_closes(composite: str) -> None:
    sample = Sample(swin(**SMALL_OPTIONS), (3, 32, 32))
    params, x = sample.inputs(2)
    reference = ReferenceSwin().double()
    leaves = {path: leaf for path, leaf in flatten(params).items() if not path.endswith(".mask")}
    reference.load_state_dict({reference_path(path): to_reference_shape(path, leaf) for path, leaf in leaves.items()})
    expected, _, scores = relevance_of(reference, x, 1, composite == "cp_lrp")
    ledger_ = ledger(sample.layer, params, x, 1, composite=composite, epsilon=1e-16)
    assert float((ledger_.map - expected).abs().max() / expected.abs().max()) <= 1e-9
    assert ledger_.score == pytest.approx(float(scores.sum()), rel=1e-12)
    assert abs(ledger_.gap) <= 1e-10 * abs(ledger_.score)
