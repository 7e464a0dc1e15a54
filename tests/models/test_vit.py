"""Vision transformers: against PyTorch's transformer layer, and functions of PyTorch differentiated by autograd."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.fuse import fuse
from pellucid.layers import Mode
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.models import vit
from pellucid.nested import flatten, map_tree
from pellucid.network.summary import summary
from pellucid.objective import Supervised
from pellucid.optim import SGD
from pellucid.training.device import usable_precision
from pellucid.training.step import TrainingStep
from tests.models.zoo import meta
from tests.oracle import Sample, difference, ours

SMALL = {"classes": 5, "side": 12, "patch": 4, "width": 8, "depth": 2, "heads": 2}


def test_the_defaults_have_the_published_numbers_of_vit_b_16() -> None:
    net = vit()
    params, out = meta(net, (3, 224, 224))
    table = summary(net, params, (3, 224, 224))
    assert (table.parameters, out) == (86_567_656, (1000,))
    assert round(table.multiply_adds / 1e9, 3) == 17.564  # torchvision's documentation
    assert next(row.shape for row in table.rows if row.path == "features.norm") == (197, 768)


def reference_block(own: dict[str, Tensor], start: str) -> nn.TransformerEncoderLayer:
    block = nn.TransformerEncoderLayer(8, 2, 32, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True).double()
    names = {
        "self_attn.in_proj_": "attention.body.attend.qkv.", "self_attn.out_proj.": "attention.body.attend.project.",
        "norm1.": "attention.body.norm.", "norm2.": "units.body.norm.",
        "linear1.": "units.body.expand.", "linear2.": "units.body.project.",
    }  # fmt: skip
    block.load_state_dict(
        {f"{there}{kind}": own[f"{start}.{here}{kind}"] for there, here in names.items() for kind in ("weight", "bias")}
    )
    return block


def reference_tokens(own: dict[str, Tensor], x: Tensor, stem: str) -> Tensor:
    """Return the tokens of images before their positions are added, (N, T, 8); batch norm in training mode."""
    start = "features.patches."
    if stem == "patch":
        return F.conv2d(x, own[f"{start}conv.weight"], own[f"{start}conv.bias"], 4).flatten(2).mT
    for n, stride in ((1, 2), (2, 1), (3, 2), (4, 1)):
        x = F.conv2d(x, own[f"{start}conv{n}.weight"], None, stride, 1)
        x = F.batch_norm(x, None, None, own[f"{start}norm{n}.weight"], own[f"{start}norm{n}.bias"], True).relu()
    return F.conv2d(x, own[f"{start}project.weight"], own[f"{start}project.bias"]).flatten(2).mT


@pytest.mark.parametrize(("pool", "stem"), [("token", "patch"), ("mean", "patch"), ("mean", "conv")])
def test_outputs_and_gradients_are_those_of_pytorchs_transformer(pool: str, stem: str) -> None:
    sample = Sample(vit(**SMALL, pool=pool, stem=stem), (3, 12, 12), train=True)
    params, x = sample.inputs(3)
    y, dy, dx, dparams = ours(sample.layer, params, x, sample.mode())
    own = {path: one.clone().requires_grad_() for path, one in flatten(params).items() if "running_" not in path}
    x = x.clone().requires_grad_()
    tokens = reference_tokens(own, x, stem)
    if pool == "token":
        tokens = torch.cat([own["features.embed.token"].expand(3, 1, 8), tokens], 1)
    tokens = tokens + own["features.embed.positions"]
    blocks = [reference_block({path: one.detach() for path, one in own.items()}, f"features.block{n}") for n in (1, 2)]
    for block in blocks:
        tokens = block(tokens)
    tokens = F.layer_norm(tokens, (8,), own["features.norm.weight"], own["features.norm.bias"], 1e-6)
    pooled = tokens[:, 0] if pool == "token" else tokens.mean(1)
    expected = F.linear(pooled, own["head.scores.weight"], own["head.scores.bias"])
    expected.backward(dy)
    assert difference(y, expected.detach()) < 1e-12
    assert difference(dx[""], x.grad) < 1e-10
    gradients = {path.rstrip("."): one for path, one in dparams.items()}  # a node's own parameter has no name
    for path, one in own.items():
        if ".block" not in path:
            assert difference(gradients[path], one.grad) < 1e-10, path
    for number, block in enumerate(blocks, start=1):
        attend = f"features.block{number}.attention.body.attend"
        assert difference(gradients[f"{attend}.qkv.weight"], block.self_attn.in_proj_weight.grad) < 1e-10
        assert difference(gradients[f"{attend}.project.bias"], block.self_attn.out_proj.bias.grad) < 1e-10
        units = f"features.block{number}.units.body"
        assert difference(gradients[f"{units}.expand.weight"], block.linear1.weight.grad) < 1e-10
        assert difference(gradients[f"{units}.norm.bias"], block.norm2.bias.grad) < 1e-10


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_the_fused_form_computes_the_same(stem: str) -> None:
    sample = Sample(vit(**SMALL, stem=stem), (3, 12, 12), train=True)
    params, x = sample.inputs(3)
    y, dy, _, dparams = ours(sample.layer, params, x, sample.mode())
    fused_y, _, _, fused = ours(fuse(sample.layer), params, x, sample.mode(), dy)
    assert difference(fused_y, y) < 1e-12
    assert fused.keys() == dparams.keys()
    for path, one in dparams.items():
        assert difference(fused[path], one) < 1e-12, path


def test_new_positions_vary_and_the_class_token_is_zero() -> None:
    params, _ = vit(**SMALL).init((3, 12, 12), torch.Generator().manual_seed(0))
    own = flatten(params)
    assert not own["features.embed.token"].any()
    assert float(own["features.embed.positions"].std()) == pytest.approx(0.02, rel=0.3)


def test_features_are_tokens_and_the_head_is_the_rest() -> None:
    net = vit(**SMALL)
    assert isinstance(net, Sequential)
    params, _ = net.init((3, 12, 12), torch.Generator().manual_seed(0))
    x = torch.rand(2, 3, 12, 12)
    tokens, _ = net.children["features"].forward(params["features"], x, Mode())
    assert tokens.shape == (2, 10, 8)
    scores, _ = net.children["head"].forward(params["head"], tokens, Mode())
    assert torch.equal(scores, net.forward(params, x, Mode())[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 5}, "vit: patch must be a divisor of side=12, not 5"),
        ({"heads": 3}, "vit: heads must be a divisor of width=8, not 3"),
        ({"pool": "max"}, "vit: pool must be 'token' or 'mean', not 'max'"),
        ({"stem": "pool"}, "vit: stem must be 'patch' or 'conv', not 'pool'"),
        ({"stem": "conv", "patch": 6}, "vit: patch must be a power of 2 from 2 for stem='conv', not 6"),
        ({"stem": "conv", "width": 7, "heads": 1}, "vit: width must be a multiple of 2 for this stem, not 7"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        vit(**{**SMALL, **options})


def test_gradients_in_bf16_are_those_of_float32_rounded() -> None:
    """Position embeddings and class tokens, too, are in bfloat16, so that every layer receives its own type."""
    if usable_precision("bf16")[0] != "bf16":
        pytest.skip("this processor has no bfloat16 instructions")
    net = vit(**SMALL)
    params, _ = net.init((3, 12, 12), torch.Generator().manual_seed(0))
    x = torch.randn((16, 3, 12, 12), generator=torch.Generator().manual_seed(1))
    batch, moved = Batch(x, torch.arange(16) % 5), []
    for precision in ("float32", "bf16"):
        own = map_tree(torch.clone, params)
        step = TrainingStep(Supervised(net, SoftmaxCrossEntropy()), own, SGD(1.0), examples=16, precision=precision)
        step(batch, 1.0)
        moved.append({path: one - flatten(params)[path] for path, one in flatten(own).items()})
    exact, rounded = moved
    for path, one in exact.items():
        assert rounded[path].dtype is torch.float32
        assert (rounded[path] - one).norm() <= 0.1 * one.norm() + 1e-3, path
