"""Networks retrained with layers removed, enlarged or reduced."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.explain.retrained import NetworkVariant, changed_net, default_variants, retrain_variants
from pellucid.layers import AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dense, Flatten, Identity, Layer, ReLU
from pellucid.model import Model
from pellucid.nested import leaves
from tests.training.small import digits

NET = Sequential(
    conv1=Conv2d(4, 3, padding=1), relu1=ReLU(), block=Sequential(conv2=Conv2d(6, 3), relu2=ReLU()), flat=Flatten(),
    hidden=Dense(8), relu3=ReLU(), scores=Dense(10),
)  # fmt: skip


def count_parameters(net: Layer) -> int:
    return sum(leaf.numel() for leaf in leaves(net.init((1, 8, 8), torch.Generator().manual_seed(0))[0]))


def test_variants_have_the_parameter_counts_computed_by_hand() -> None:
    def expected_count(maps1: int, maps2: int, hidden: int) -> int:
        convolutions = (9 + 1) * maps1 + (9 * maps1 + 1) * maps2
        return convolutions + (36 * maps2 + 1) * hidden + (hidden + 1) * 10

    result = {variant.name: count_parameters(changed_net(NET, variant)) for variant in default_variants(NET)}
    assert result == {
        "conv1": (9 + 1) * 6 + (36 * 6 + 1) * 8 + 90,
        "block.conv2": 40 + (64 * 4 + 1) * 8 + 90,
        "hidden": 40 + 222 + (216 + 1) * 10,
        "half of the filters of the convolutions": expected_count(2, 3, 8),
        "twice the filters of the convolutions": expected_count(8, 12, 8),
        "half of the units of the dense layers": expected_count(4, 6, 4),
        "twice the units of the dense layers": expected_count(4, 6, 16),
    }


def test_retraining_learns_and_leaves_the_model_unchanged() -> None:
    images = digits(0, 300)
    model = Model(NET, input_shape=tuple(images.x.shape[1:]), classes=images.classes)
    before = model.sha256()
    retraining = retrain_variants(model, images, digits(300, 400), 30, [NetworkVariant("hidden", ("hidden",), 0.0)])
    assert model.sha256() == before
    assert [row.variant.name for row in retraining.rows] == ["nothing", "hidden"]
    assert all(row.accuracy is not None and row.accuracy > 0.3 for row in retraining.rows)
    assert list(retraining.weights) == list(range(31))
    first, last = (retraining.weights[epoch]["conv1"]["weight"] for epoch in (0, 30))
    assert not torch.equal(first, last)
    # A new model from the same seed has the weights of epoch 0.
    assert torch.equal(first, model.params["conv1"]["weight"])


def test_parameters_are_counted_without_running_statistics() -> None:
    images = digits(0, 64)
    net = Sequential(conv=Conv2d(4, 3), norm=BatchNorm(), flat=Flatten(), scores=Dense(10))
    model = Model(net, input_shape=tuple(images.x.shape[1:]), classes=images.classes)
    n_positions = (images.x.shape[2] - 2) * (images.x.shape[3] - 2)
    channels = images.x.shape[1]
    assert retrain_variants(model, images, images, 1, []).rows[0].parameters == (
        4 * (9 * channels + 1) + 2 * 4 + (4 * n_positions + 1) * 10
    )


def test_a_network_that_cannot_be_built_is_reported_in_its_row() -> None:
    skip = Sequential(
        conv=Conv2d(4, 3, padding=1), block=Parallel({"skip": Identity(), "body": Conv2d(4, 3, padding=1)}, Add()),
        mean=AdaptiveAvgPool2d(1), flat=Flatten(), scores=Dense(10),
    )  # fmt: skip
    images = digits(0, 20)
    model = Model(skip, input_shape=tuple(images.x.shape[1:]), classes=images.classes)
    # The body then has 8 maps, which cannot be added to the 4 of the skip.
    row = retrain_variants(model, images, images, 1, [NetworkVariant("twice", ("block.body",), 2.0)]).rows[1]
    assert row.accuracy is None
    assert "Add" in row.error


def test_a_network_that_cannot_be_trained_is_reported_in_its_row() -> None:
    net = Sequential(conv=Conv2d(4, 8), flat=Flatten(), norm=BatchNorm(), scores=Dense(10))
    images = digits(0, 20).subset([0])  # one image has no batch statistics
    model = Model(net, input_shape=tuple(images.x.shape[1:]), classes=images.classes)
    rows = retrain_variants(model, images, images, 1, [NetworkVariant("norm", ("norm",), 0.0)]).rows
    assert "one value per channel" in rows[0].error
    assert rows[1].accuracy is not None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PellucidError, match=r"no layer 'block\.conv9'; did you mean 'conv2'"):
        changed_net(NET, NetworkVariant("?", ("block.conv9",), 0.0))
    with pytest.raises(PellucidError, match="size of a ReLU cannot be changed"):
        changed_net(NET, NetworkVariant("?", ("relu1",), 2.0))
