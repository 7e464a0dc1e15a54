"""Ablation against networks built without the removed part, Captum, and a network made by hand."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Parallel, Sequential
from pellucid.explain.ablation import Removal, ablation_table, forward_with_edits, map_effects
from pellucid.layers import Add, BatchNorm, Concat, Conv2d, ConvTranspose2d, Dense, Flatten, Identity, Mode, ReLU
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import assert_close, normal
from tests.references import reference_forward

# Unit 0 outputs x0 and supports class 0, unit 1 outputs x1 and supports class 1; class 2 is predicted if both are 0.
NET = Sequential(flat=Flatten(), hidden=Dense(2, bias=False), relu=ReLU(), scores=Dense(3))
PARAMS: dict[str, Any] = {
    "flat": {},
    "hidden": {"weight": torch.eye(2)},
    "relu": {},
    "scores": {"weight": torch.tensor([[2.0, 0], [0, 2], [0, 0]]), "bias": torch.tensor([0.0, 0, 1])},
}
IMAGES = torch.tensor([[3.0, 0], [2, 0], [0, 3], [0, 0]]).view(4, 1, 1, 2)
LABELS = torch.tensor([0, 0, 1, 2])


def test_accuracies_without_units_are_those_counted_by_hand() -> None:
    rows = [[Removal("hidden", (0,))], [Removal("hidden", (1,))], [Removal("hidden")]]
    table = ablation_table(NET, PARAMS, IMAGES, LABELS, rows, batch=3)
    assert [row.accuracy for row in table] == [1, 0.5, 0.75, 0.25]
    assert [row.parameters for row in table] == [0, 2, 2, 4]
    assert [row.name for row in table] == ["nothing", "hidden[0]", "hidden[1]", "hidden"]


def test_a_unit_can_be_replaced_by_its_mean() -> None:
    # With unit 0 at its mean of 1.25, class 0 has the score 2.5: above the 1 of class 2, below the 6 of class 1.
    table = ablation_table(NET, PARAMS, IMAGES, LABELS, [[Removal("hidden", (0,))]], by="mean")
    assert table[1].accuracy == 0.75


def test_every_layer_can_be_removed_by_itself() -> None:
    net, params, x = network_and_batch("vgg")
    table = ablation_table(net, params, x, torch.tensor([0, 1]), prepare=lambda x: x)
    assert [row.name for row in table] == ["nothing", "conv1", "conv2"]
    predicted = reference_forward(net, params, x, Mode()).argmax(1)
    assert table[0].accuracy == (predicted == torch.tensor([0, 1])).double().mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_removing_nothing_leaves_the_score_unchanged(name: str) -> None:
    net, params, x = network_and_batch(name)
    assert_close(
        forward_with_edits(net, params, x, {"": lambda y: y}), reference_forward(net, params, x, Mode()), 1e-12
    )


def test_a_removed_branch_leaves_the_shortcut() -> None:
    net, params, x = network_and_batch("resnet")
    children = dict(net.layers)
    without = Sequential(**{**children, "block1": Sequential(sum=Identity(), relu=ReLU())})
    expected = reference_forward(without, {**params, "block1": {"sum": {}, "relu": {}}}, x, Mode())
    assert_close(forward_with_edits(net, params, x, {"block1.sum.body": torch.zeros_like}), expected, 1e-12)


@pytest.mark.skipif(find_spec("captum") is None, reason="Captum is not installed: pip install captum")
def test_effects_of_maps_equal_captums() -> None:
    from captum.attr import LayerFeatureAblation

    net, params, x = network_and_batch("vgg")
    target = torch.tensor([2, 0])

    class SplitNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            layers = list(net.layers.items())
            cut = [name for name, _ in layers].index("conv1") + 1
            for name, layer in layers[:cut]:
                x = reference_forward(layer, params[name], x, Mode())
            x = self.below(x)
            for name, layer in layers[cut:]:
                x = reference_forward(layer, params[name], x, Mode())
            return self.above(x)

    module = SplitNet()
    layer_mask = torch.arange(3).view(1, 3, 1, 1).expand(1, 3, 6, 6)
    reference = LayerFeatureAblation(module, module.below)
    expected = reference.attribute(x, target=target, layer_baselines=0.5, layer_mask=layer_mask)
    assert isinstance(expected, Tensor)
    assert_close(map_effects(net, params, x, target, "conv1", by=0.5), expected[:, :, 0, 0].double(), 1e-6)


MIXED_NET = Sequential(
    body=Sequential(conv=Conv2d(6, 3, padding=1, groups=2), norm=BatchNorm(), relu=ReLU()),
    up=ConvTranspose2d(6, (2, 3), groups=3, bias=False),
    sides=Parallel({"a": Conv2d(3, 1), "b": Identity()}, Concat()),
    flat=Flatten(),
    scores=Dense(3),
)


@pytest.mark.parametrize(
    ("removal", "count"),
    [
        (Removal("body.conv"), 6 * (4 // 2 * 9 + 1)),
        (Removal("body.conv", (0, 5)), 2 * (4 // 2 * 9 + 1)),
        (Removal("body.norm"), 6 * 2),  # a scale and a shift; the running statistics are not learned
        (Removal("body.norm", (1,)), 2),
        (Removal("body"), 6 * 19 + 12),
        (Removal("body", (3,)), 19 + 2),
        (Removal("up"), 6 * 6 // 3 * 6),
        (Removal("up", (0, 1, 2)), 3 * (6 // 3) * 6),
        (Removal("sides", (8,)), 0),
        (Removal("sides"), 3 * (6 + 1)),
        (Removal("scores", (2,)), 9 * 5 * 4 + 1),
        (Removal("flat", (7,)), 0),
    ],
    ids=str,
)
def test_removed_parameters_are_counted(removal: Removal, count: int) -> None:
    rng = torch.Generator().manual_seed(0)
    params, _ = MIXED_NET.init((4, 4, 2), rng)
    x = normal((3, 4, 4, 2), rng).float()
    table = ablation_table(MIXED_NET, params, x, LABELS[:3], [[removal]], prepare=lambda x: x)
    assert [row.parameters for row in table] == [0, count]


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_removing_a_layer_with_two_outputs_is_refused(by: str) -> None:
    net = Sequential(f=Fork(a=Conv2d(2, 1), b=Conv2d(2, 1)), sum=Add(), flat=Flatten(), scores=Dense(3))
    params, _ = net.init((1, 1, 2), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match="the layer 'f' outputs 2 tensors; give a layer inside it"):
        ablation_table(net, params, IMAGES, LABELS, [[Removal("f")]], by=by)
    with pytest.raises(PellucidError, match="the layer 'f' outputs 2 tensors; give a layer inside it"):
        map_effects(net, params, IMAGES, 0, "f")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PellucidError, match="no layer 'hiden'; did you mean 'hidden'"):
        ablation_table(NET, PARAMS, IMAGES, LABELS, [[Removal("hiden")]])
    with pytest.raises(PellucidError, match=r"hidden\[2\]: the layer has maps 0 to 1"):
        ablation_table(NET, PARAMS, IMAGES, LABELS, [[Removal("hidden", (2,))]])
    with pytest.raises(PellucidError, match="zero, mean"):
        ablation_table(NET, PARAMS, IMAGES, LABELS, by="median")


def test_the_network_is_unchanged() -> None:
    before = PARAMS["hidden"]["weight"].clone()
    ablation_table(NET, PARAMS, normal((3, 1, 1, 2), torch.Generator().manual_seed(0)).float(), LABELS[:3])
    assert torch.equal(PARAMS["hidden"]["weight"], before)
