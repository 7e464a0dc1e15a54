"""Networks from images to images: parameters as printed by the authors' code, receptive fields, and gradients."""

from typing import get_args

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.fuse import fuse
from pellucid.layers import BatchNorm, Dropout, InstanceNorm2d, Mode
from pellucid.models import patch_discriminator, resnet_generator, unet_generator
from pellucid.models.pix2pix import Field
from pellucid.network.counts import receptive_field
from pellucid.sweep import backward, forward
from tests.models.test_models import count_learned
from tests.oracle import Sample, autograd, difference, forward_backward, leaves

SMALL_NETWORKS = {
    "unet": (unet_generator(2, 2, 3), (3, 16, 24)),
    "unet of instances": (unet_generator(2, 2, 5, "instance", dropout=0), (1, 64, 64)),
    "resnet": (resnet_generator(2, 2, 1), (3, 16, 12)),
    "resnet of batches": (resnet_generator(1, 2, 2, "batch"), (1, 12, 16)),
    "patches": (patch_discriminator(34, 2), (4, 20, 24)),
    "pixels": (patch_discriminator(1, 2, "none"), (4, 3, 5)),
}


@pytest.mark.slow
def test_networks_have_the_parameters_of_the_papers_code():
    assert count_learned(unet_generator(), (3, 256, 256)) == 54_413_955
    assert count_learned(unet_generator(2, levels=7), (1, 128, 128)) == 41_824_898
    assert count_learned(patch_discriminator(), (6, 256, 256)) == 2_768_705
    assert count_learned(patch_discriminator(1), (6, 256, 256)) == 9_024
    assert count_learned(resnet_generator(), (3, 256, 256)) == 11_378_179  # printed as 11.378 M


@pytest.mark.parametrize("field", get_args(Field))
def test_a_score_depends_on_exactly_its_patch(field: int):
    net = patch_discriminator(field, 1)
    assert isinstance(net, Sequential)
    assert receptive_field(net)[-1].field == (field, field)
    side = 2 * field + 64  # larger than the patch with the padding around it
    rng = torch.Generator().manual_seed(field)
    params, _ = net.init((2, side, side), rng)
    y, cache = net.forward(params, torch.rand(1, 2, side, side, generator=rng), Mode())
    dy = torch.zeros_like(y)
    centre = y.shape[2] // 2
    dy[..., centre, centre] = 1
    dx, _ = backward(net, params, cache, dy)
    rows, columns = ((dx[0] != 0).any(0).any(axis).nonzero().flatten() for axis in (1, 0))
    assert int((dx[0] != 0).any(0).sum()) == field**2  # every pixel of the patch
    assert int(rows[-1] - rows[0]) + 1 == int(columns[-1] - columns[0]) + 1 == field


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_gradients_are_those_of_automatic_differentiation(name: str):
    net, shape = SMALL_NETWORKS[name]
    sample = Sample(net, shape, train=True)
    params, x = sample.inputs(2)
    y, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    expected_y, expected_dx, expected_dparams = autograd(net, params, x, sample.mode(), dy)
    fused_y, _, _, fused_dparams = forward_backward(fuse(net, need_dx=True), params, x, sample.mode(), dy)
    assert dparams.keys() == expected_dparams.keys() == fused_dparams.keys()
    for path, leaf in {**leaves(expected_y), **expected_dx, **expected_dparams}.items():
        assert difference({**leaves(y), **dx, **dparams}[path], leaf) < 1e-8, path
    for path, leaf in {**leaves(y), **dparams}.items():
        assert difference({**leaves(fused_y), **fused_dparams}[path], leaf) < 1e-12, path


def test_norms_and_dropout_are_where_the_paper_has_them():
    layer_types: dict[str, type] = {}
    net = unet_generator(2, 2, 8)
    params, _ = net.init((1, 256, 256), torch.Generator().manual_seed(0))
    forward(
        net,
        params,
        torch.zeros(1, 1, 256, 256),
        Mode(),
        lambda path, layer, *_: layer_types.update({path: type(layer)}),
    )
    dropout_paths = sorted(path for path, layer_type in layer_types.items() if layer_type is Dropout)
    assert [path.split(".")[-3:-1] for path in dropout_paths] == [
        ["level6", "deeper"],
        ["level7", "deeper"],
        ["level8", "deeper"],
    ]
    norm_paths = [path for path, layer_type in layer_types.items() if layer_type is BatchNorm]
    assert len(norm_paths) == 6 + 7  # encoder without first and innermost, decoder without last
    resnet = resnet_generator(blocks=2)
    params, _ = resnet.init((3, 8, 8), torch.Generator().manual_seed(0))
    resnet_layer_types: list[type] = []
    forward(
        resnet, params, torch.zeros(1, 3, 8, 8), Mode(), lambda path, layer, *_: resnet_layer_types.append(type(layer))
    )
    assert resnet_layer_types.count(InstanceNorm2d) == 3 + 2 * 2 + 2


def test_a_unet_of_one_level_is_refused():
    with pytest.raises(PellucidError, match="levels=1 has no skip connection; use 2 or more"):
        unet_generator(levels=1)
