"""Every network of the zoo has the properties given by its authors and torchvision's documentation.

Most tests compute shapes only, on the device "meta", so that VGG-16's 138 million parameters are not drawn.
"""

import json
import math
import re
from itertools import pairwise

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Combinator, walk
from pellucid.extend.config import from_config, to_config
from pellucid.layers import BatchNorm, Conv2d, Dense, Mode
from pellucid.models import MODELS, features, head, mobilenet_v2
from pellucid.models.mobilenet import round_to_eight
from pellucid.nested import flatten
from pellucid.network.summary import summary
from pellucid.sweep import forward
from tests.models.zoo import (
    IMAGE_NETWORKS,
    KEYPOINT_NETWORKS,
    SEGMENTATION_NETWORKS,
    VARIANTS,
    ZOO,
    PublishedNetwork,
    init_on_meta,
)

each_published = pytest.mark.parametrize("published", ZOO, ids=str)
SMALL_CASES = (
    ("resnet20", {}, 32),
    ("resnet18", {}, 64),
    ("googlenet", {}, 64),
    ("densenet121", {}, 64),
    ("mobilenet_v2", {}, 64),
    ("squeezenet1_1", {}, 64),
    ("efficientnet_b0", {}, 64),
    ("inception_v3", {}, 107),
    *(variant for variant in VARIANTS if variant[0] != "inception_v3"),
)


def test_the_zoo_is_complete() -> None:
    separately_tested = {
        "mlp",
        "lenet",
        "convnet",
        "regressor",
        "transfer",
        "convnext_tiny",
        "swin",
        "vit",
    }  # these have their own test files
    tested = {published.name for published in ZOO} | separately_tested
    assert tested | SEGMENTATION_NETWORKS | IMAGE_NETWORKS | {*KEYPOINT_NETWORKS} == set(MODELS)


@pytest.mark.slow
@each_published
def test_parameters_maps_and_multiply_adds_are_the_published_ones(published: PublishedNetwork) -> None:
    net = published.build()
    shape = (3, published.side, published.side)
    params, out = init_on_meta(net, shape)
    summary_ = summary(net, params, shape)
    assert summary_.parameters == published.parameters
    rows = {row.path: row for row in summary_.rows}
    last = [row for path, row in rows.items() if path.startswith("features.")][-1]
    assert last.shape == published.maps
    assert out == rows[list(rows)[-1]].shape == ((10,) if published.side == 32 else (1000,))
    if published.billions is not None:
        assert round(summary_.multiply_adds / 1e9, 3) == published.billions


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("googlenet", {"auxiliary": True}, 13_004_888),
        ("googlenet", {"auxiliary": True, "original": True}, 13_378_280),
        ("inception_v3", {"auxiliary": True}, 27_161_264),
        ("mobilenet_v2", {"width": 1.4}, 6_108_776),  # Keras: 6,156,712 with 2 x 23,968 running statistics
        ("mobilenet_v2", {"width": 0.5}, 1_968_680),
        ("resnet50", {"stride_first": True}, 25_557_032),
        ("mobilenet_v2", {"pad": "same"}, 3_504_872),
    ],
)
def test_numbers_of_parameters_of_variants(name: str, options: dict[str, object], parameters: int) -> None:
    net = MODELS[name](**options)
    side = 299 if name == "inception_v3" else 224
    params, _ = init_on_meta(net, (3, side, side))
    buffers = {f"{path}.{buffer}" for path, layer in walk(net) for buffer in layer.buffers}
    assert sum(leaf.numel() for path, leaf in flatten(params).items() if path not in buffers) == parameters


def test_parameters_of_cifar_resnets_round_to_those_of_the_paper() -> None:
    counts = {published.name: published.parameters for published in ZOO}
    millions = [round(counts[name] / 1e6, 2) for name in ("resnet20", "resnet32", "resnet56")]
    assert millions == [0.27, 0.46, 0.85]  # He et al. 2016, table 6


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9)])
def test_multiply_adds_of_cifar_resnets_by_hand(name: str, blocks: int) -> None:
    net, n_inner = MODELS[name](), 2 * blocks - 1  # convolutions of a stage after its first
    by_hand = 32**2 * 16 * 9 * 3
    by_hand += 32**2 * 16 * 9 * (16 + n_inner * 16)
    by_hand += 16**2 * 32 * 9 * (16 + n_inner * 32)
    by_hand += 8**2 * 64 * 9 * (32 + n_inner * 64) + 64 * 10
    assert summary(net, init_on_meta(net, (3, 32, 32))[0], (3, 32, 32)).multiply_adds == by_hand


def test_zfnets_maps_are_those_of_its_figure() -> None:
    net = MODELS["zfnet"]()
    rows = {row.path: row.shape for row in summary(net, init_on_meta(net, (3, 224, 224))[0], (3, 224, 224)).rows}
    figure = {
        "conv1": (96, 110, 110), "pool1": (96, 55, 55), "conv2": (256, 26, 26), "pool2": (256, 13, 13),
        "conv3": (384, 13, 13), "conv4": (384, 13, 13), "conv5": (256, 13, 13), "pool5": (256, 6, 6),
    }  # fmt: skip
    assert {name: rows[f"features.{name}"] for name in figure} == figure


def test_googlenets_maps_are_those_of_table_1() -> None:
    net = MODELS["googlenet"](original=True)
    rows = {row.path: row.shape for row in summary(net, init_on_meta(net, (3, 224, 224))[0], (3, 224, 224)).rows}
    table_1 = {
        "conv1": (64, 112, 112), "pool1": (64, 56, 56), "conv3": (192, 56, 56), "pool2": (192, 28, 28),
        "inception3a.merge": (256, 28, 28), "inception3b.merge": (480, 28, 28), "pool3": (480, 14, 14),
        "inception4a.merge": (512, 14, 14), "inception4d.merge": (528, 14, 14), "inception4e.merge": (832, 14, 14),
        "pool4": (832, 7, 7), "inception5a.merge": (832, 7, 7), "inception5b.merge": (1024, 7, 7),
    }  # fmt: skip
    assert {name: rows[f"features.{name}"] for name in table_1} == table_1


@each_published
def test_features_output_maps_and_the_head_outputs_logits(published: PublishedNetwork) -> None:
    net = published.build(classes=7)
    shape = (3, published.side, published.side)
    params, out = init_on_meta(net, shape)
    assert list(params) == ["features", "head"]
    assert out == (7,)
    with torch.device("meta"):
        _, maps = features(net).init(shape, torch.Generator())
        _, logits = head(net).init(maps, torch.Generator())
    assert (maps, logits) == (published.maps, (7,))
    assert not any(isinstance(layer, Dense) for _, layer in walk(features(net)))
    scores = dict(walk(head(net)))["scores"]
    assert isinstance(scores, Dense | Conv2d)
    assert params["head"]["scores"]["bias"].shape == (7,)


@each_published
def test_paths_are_lowercase_and_a_network_is_restored_from_its_config(published: PublishedNetwork) -> None:
    net = published.build()
    paths = [path for path, _ in walk(net)][1:]
    assert len(paths) == len(set(paths))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", path) for path in paths)
    restored = from_config(json.loads(json.dumps(to_config(net))))
    assert restored == net
    assert [path for path, _ in walk(restored)][1:] == paths


# Weights files contain these paths, so they must not change.
PATHS = {
    "alexnet": ("features.conv1.weight", "features.conv5.bias", "head.dense1.weight"),
    "zfnet": ("features.conv1.weight", "features.conv5.bias", "head.dense2.weight"),
    "vgg16": ("features.block1.conv1.weight", "features.block5.conv3.bias", "head.dense1.weight"),
    "vgg16_bn": ("features.block1.norm1.weight", "features.block5.norm3.running_var", "head.dense2.bias"),
    "googlenet": (
        "features.conv1.weight",
        "features.inception3a.branch1x1.norm.bias",
        "features.inception5b.branch5x5.reduce_norm.running_mean",
        "features.inception5b.branch_pool.conv.weight",
    ),
    "inception_v3": (
        "features.norm5.weight",
        "features.mixed5b.branch3x3double.conv3.weight",
        "features.mixed7c.branch3x3.ends.tall.conv.weight",
    ),
    "resnet18": (
        "features.stem.conv.weight",
        "features.stage2.block1.residual.shortcut.conv.weight",
        "features.stage4.block2.residual.body.norm2.bias",
    ),
    "resnet50": (
        "features.stage1.block1.residual.shortcut.norm.bias",
        "features.stage4.block3.residual.body.conv3.weight",
    ),
    "resnet20": ("features.stem.norm.weight", "features.stage3.block3.residual.body.conv2.weight"),
    "densenet121": (
        "features.stem.conv.weight",
        "features.block3.layer24.added.conv2.weight",
        "features.transition3.conv.weight",
        "features.norm.running_mean",
    ),
    "mobilenet_v2": (
        "features.stage1.block1.body.depthwise.weight",
        "features.stage2.block2.body.expand_norm.weight",
        "features.stage7.block1.body.project.weight",
        "features.last.conv.weight",
    ),
    "squeezenet1_1": ("features.conv1.bias", "features.fire9.expand.expand3x3.weight"),
    "efficientnet_b0": (
        "features.stem.conv.weight",
        "features.stage2.block2.body.expand_norm.weight",
        "features.stage7.block1.body.scale.gate.excite.bias",
        "features.last.conv.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_paths_in_weights_files_are_unchanged(name: str) -> None:
    params, _ = init_on_meta(MODELS[name](), (3, 224, 224))
    leaves = flatten(params)
    assert {*PATHS[name], "head.scores.weight", "head.scores.bias"} <= set(leaves)


@pytest.mark.parametrize(
    ("name", "options"), [("googlenet", {}), ("googlenet", {"original": True}), ("inception_v3", {})]
)
def test_auxiliaries_change_no_path_and_no_shape_of_the_network(name: str, options: dict[str, bool]) -> None:
    side = 224 if name == "googlenet" else 299
    plain, with_auxiliaries = MODELS[name](**options), MODELS[name](**options, auxiliary=True)
    plain_leaves, auxiliary_leaves = (
        flatten(init_on_meta(net, (3, side, side))[0]) for net in (plain, with_auxiliaries)
    )
    assert list(plain_leaves) == [path for path in auxiliary_leaves if "auxiliary" not in path]
    assert all(auxiliary_leaves[path].shape == leaf.shape for path, leaf in plain_leaves.items())


def test_the_first_output_with_auxiliaries_equals_that_without() -> None:
    net = MODELS["googlenet"](classes=3, auxiliary=True)
    params, shapes = net.init((3, 64, 64), torch.Generator().manual_seed(0))
    assert shapes == ((3,), (3,), (3,))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    (logits, *auxiliary_logits), _ = net.forward(params, x, Mode())
    main_params = {**params, "head": {name: part for name, part in params["head"].items() if "auxiliary" not in name}}
    expected, _ = MODELS["googlenet"](classes=3).forward(main_params, x, Mode())
    assert torch.equal(logits, expected)
    assert all(other.shape == (2, 3) and not torch.equal(other, logits) for other in auxiliary_logits)


@pytest.mark.parametrize(("name", "options", "side"), SMALL_CASES)
def test_logits_of_noise_are_finite_and_differ_by_image(name: str, options: dict[str, object], side: int) -> None:
    net = MODELS[name](classes=4, **options)
    rng = torch.Generator().manual_seed(0)
    params, _ = net.init((3, side, side), rng)
    x = torch.randn(2, 3, side, side, generator=rng)
    y, _ = forward(net, params, x, Mode(train=True, rng=rng, keep=False))
    for logits in y if isinstance(y, tuple) else (y,):
        assert logits.shape == (2, 4)
        assert torch.isfinite(logits).all()
        assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("name", "side"), [("resnet20", 32), ("mobilenet_v2", 64), ("squeezenet1_1", 64)])
def test_weights_are_drawn_as_he_et_al_draw_them(name: str, side: int) -> None:
    net = MODELS[name]()
    params, _ = net.init((3, side, side), torch.Generator().manual_seed(0))
    leaves, layers = flatten(params), dict(walk(net))
    for path, layer in layers.items():
        if isinstance(layer, Conv2d | Dense):
            weight = leaves[f"{path}.weight"]
            variance = (1 if isinstance(layer, Dense) else 2) / weight[0].numel()  # no ReLU follows the scores
            assert weight.std() / math.sqrt(variance) == pytest.approx(1, abs=4 / math.sqrt(weight.numel()))
            assert not layer.bias or not leaves[f"{path}.bias"].any()
        if isinstance(layer, BatchNorm):
            assert (leaves[f"{path}.weight"] == 1).all()


def test_only_vgg_has_biases_in_convolutions_before_norms() -> None:
    for published in ZOO:
        leaves = [layer for _, layer in walk(published.build()) if not isinstance(layer, Combinator)]
        layers_before_norm = [layer for layer, next_layer in pairwise(leaves) if isinstance(next_layer, BatchNorm)]
        bias_flags = {layer.bias for layer in layers_before_norm if isinstance(layer, Conv2d)}
        assert bias_flags <= ({True} if published.name.endswith("_bn") else {False})


def test_channels_of_thin_mobilenets_are_multiples_of_8() -> None:
    # Keras' published alphas of the first convolution: 0.35 16, 0.5 16, 0.75 24, 1.0 32, 1.3 40, 1.4 48
    assert [round_to_eight(32 * alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)] == [16, 16, 24, 32, 40, 48]
    with pytest.raises(PellucidError, match="pad must be 'both' or 'same', not 'sane'"):
        mobilenet_v2(pad="sane")  # pyright: ignore[reportArgumentType]
    with pytest.raises(PellucidError, match="width must be a number above 0"):
        mobilenet_v2(width=0)


def test_a_halving_shortcut_takes_every_second_pixel_and_adds_zeros() -> None:
    shortcut = dict(walk(MODELS["resnet20"]()))["features.stage2.block1.residual.shortcut"]
    params, out = shortcut.init((16, 32, 32), torch.Generator())
    x = torch.randn(2, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    y, cache = shortcut.forward(params, x, Mode())
    assert out == (32, 16, 16)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert not y[:, 16:].any()
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    dx, _ = shortcut.backward(params, cache, dy)
    assert torch.equal(dx[:, :, ::2, ::2], dy[:, :16])
    assert dx.count_nonzero() == dy[:, :16].count_nonzero()
