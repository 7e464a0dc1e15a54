"""Vision transformers equal PyTorch's transformer layer and functions of PyTorch differentiated by autograd."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data.source import Batch
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
from tests.models.zoo import init_on_meta
from tests.oracle import Sample, difference, forward_backward

SMALL_OPTIONS = {"classes": 5, "side": 12, "patch": 4, "width": 8, "depth": 2, "heads": 2}


def test_the_defaults_have_the_published_numbers_of_vit_b_16() -> None:
    net = vit()
    params, out = init_on_meta(net, (3, 224, 224))
    summary_ = summary(net, params, (3, 224, 224))
    assert (summary_.parameters, out) == (86_567_656, (1000,))
    assert round(summary_.multiply_adds / 1e9, 3) == 17.564  # torchvision's documentation
    assert next(row.shape for row in summary_.rows if row.path == "features.norm") == (197, 768)


def reference_block(leaves: dict[str, Tensor], prefix: str) -> nn.TransformerEncoderLayer:
    block = nn.TransformerEncoderLayer(8, 2, 32, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True).double()
    names = {
        "self_attn.in_proj_": "attention.body.attend.qkv.", "self_attn.out_proj.": "attention.body.attend.project.",
        "norm1.": "attention.body.norm.", "norm2.": "units.body.norm.",
        "linear1.": "units.body.expand.", "linear2.": "units.body.project.",
    }  # fmt: skip
    block.load_state_dict(
        {
            f"{torch_name}{suffix}": leaves[f"{prefix}.{name}{suffix}"]
            for torch_name, name in names.items()
            for suffix in ("weight", "bias")
        }
    )
    return block


def reference_tokens(leaves: dict[str, Tensor], x: Tensor, stem: str) -> Tensor:
    """Return the tokens of images before position embeddings are added, (N, T, 8), with batch norm in training mode."""
    prefix = "features.patches."
    if stem == "patch":
        return F.conv2d(x, leaves[f"{prefix}conv.weight"], leaves[f"{prefix}conv.bias"], 4).flatten(2).mT
    for n, stride in ((1, 2), (2, 1), (3, 2), (4, 1)):
        x = F.conv2d(x, leaves[f"{prefix}conv{n}.weight"], None, stride, 1)
        x = F.batch_norm(x, None, None, leaves[f"{prefix}norm{n}.weight"], leaves[f"{prefix}norm{n}.bias"], True).relu()
    return F.conv2d(x, leaves[f"{prefix}project.weight"], leaves[f"{prefix}project.bias"]).flatten(2).mT


@pytest.mark.parametrize(("pool", "stem"), [("token", "patch"), ("mean", "patch"), ("mean", "conv")])
def test_outputs_and_gradients_are_those_of_pytorchs_transformer(pool: str, stem: str) -> None:
    sample = Sample(vit(**SMALL_OPTIONS, pool=pool, stem=stem), (3, 12, 12), train=True)
    params, x = sample.inputs(3)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    leaves = {path: leaf.clone().requires_grad_() for path, leaf in flatten(params).items() if "running_" not in path}
    x = x.clone().requires_grad_()
    tokens = reference_tokens(leaves, x, stem)
    if pool == "token":
        tokens = torch.cat([leaves["features.embed.token"].expand(3, 1, 8), tokens], 1)
    tokens = tokens + leaves["features.embed.positions"]
    blocks = [
        reference_block({path: leaf.detach() for path, leaf in leaves.items()}, f"features.block{n}") for n in (1, 2)
    ]
    for block in blocks:
        tokens = block(tokens)
    tokens = F.layer_norm(tokens, (8,), leaves["features.norm.weight"], leaves["features.norm.bias"], 1e-6)
    pooled = tokens[:, 0] if pool == "token" else tokens.mean(1)
    expected = F.linear(pooled, leaves["head.scores.weight"], leaves["head.scores.bias"])
    expected.backward(dy)
    assert difference(y, expected.detach()) < 1e-12
    assert difference(dx[""], x.grad) < 1e-10
    gradients = {path.rstrip("."): leaf for path, leaf in dparams.items()}  # a node's own parameter has no name
    for path, leaf in leaves.items():
        if ".block" not in path:
            assert difference(gradients[path], leaf.grad) < 1e-10, path
    for number, block in enumerate(blocks, start=1):
        attention_path = f"features.block{number}.attention.body.attend"
        assert difference(gradients[f"{attention_path}.qkv.weight"], block.self_attn.in_proj_weight.grad) < 1e-10
        assert difference(gradients[f"{attention_path}.project.bias"], block.self_attn.out_proj.bias.grad) < 1e-10
        units_path = f"features.block{number}.units.body"
        assert difference(gradients[f"{units_path}.expand.weight"], block.linear1.weight.grad) < 1e-10
        assert difference(gradients[f"{units_path}.norm.bias"], block.norm2.bias.grad) < 1e-10


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_the_fused_form_computes_the_same(stem: str) -> None:
    sample = Sample(vit(**SMALL_OPTIONS, stem=stem), (3, 12, 12), train=True)
    params, x = sample.inputs(3)
    y, dy, _, dparams = forward_backward(sample.layer, params, x, sample.mode())
    fused_y, _, _, fused_dparams = forward_backward(fuse(sample.layer), params, x, sample.mode(), dy)
    assert difference(fused_y, y) < 1e-12
    assert fused_dparams.keys() == dparams.keys()
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-12, path


def test_new_positions_vary_and_the_class_token_is_zero() -> None:
    params, _ = vit(**SMALL_OPTIONS).init((3, 12, 12), torch.Generator().manual_seed(0))
    leaves = flatten(params)
    assert not leaves["features.embed.token"].any()
    assert float(leaves["features.embed.positions"].std()) == pytest.approx(0.02, rel=0.3)


def test_features_output_tokens_and_the_head_outputs_scores() -> None:
    net = vit(**SMALL_OPTIONS)
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
        vit(**{**SMALL_OPTIONS, **options})


def test_gradients_in_bf16_are_those_of_float32_rounded() -> None:
    """Position embeddings and class tokens are in bfloat16, too, so every layer receives inputs of that dtype."""
    if usable_precision("bf16")[0] != "bf16":
        pytest.skip("this processor has no bfloat16 instructions")
    net = vit(**SMALL_OPTIONS)
    params, _ = net.init((3, 12, 12), torch.Generator().manual_seed(0))
    x = torch.randn((16, 3, 12, 12), generator=torch.Generator().manual_seed(1))
    batch, updates = Batch(x, torch.arange(16) % 5), []
    for precision in ("float32", "bf16"):
        leaves = map_tree(torch.clone, params)
        step = TrainingStep(Supervised(net, SoftmaxCrossEntropy()), leaves, SGD(1.0), examples=16, precision=precision)
        step(batch, 1.0)
        updates.append({path: leaf - flatten(params)[path] for path, leaf in flatten(leaves).items()})
    exact, rounded = updates
    for path, leaf in exact.items():
        assert rounded[path].dtype is torch.float32
        assert (rounded[path] - leaf).norm() <= 0.1 * leaf.norm() + 1e-3, path
