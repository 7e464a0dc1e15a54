"""The patches with the strongest activations of each map, against an exhaustive search."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.explain import deconvnet, top_patches, upto
from pellucid.layers import Mode
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close, normal
from tests.references import reference_forward


def test_the_nine_strongest_patches_and_their_deconvolutions_are_found() -> None:
    net, params, _ = network_and_batch("vgg")
    images = normal((40, 2, 6, 6), torch.Generator().manual_seed(3))
    patches = top_patches(net, params, images, "relu2", maps=[2, 0], count=9, prepare=lambda x: x, batch=7)
    assert [map_patches.map for map_patches in patches] == [2, 0]
    y = reference_forward(upto(net, "relu2"), params, images, Mode())
    for map_patches in patches:
        strongest = y[:, map_patches.map].flatten(1).amax(1)
        assert map_patches.images.tolist() == sorted(range(40), key=lambda n: -float(strongest[n]))[:9]
        assert_close(map_patches.value, strongest[map_patches.images], 1e-12)
        expected = deconvnet(net, params, images[map_patches.images], f"relu2[{map_patches.map}]")
        assert_close(map_patches.deconvolution, expected, 1e-12)
        for (top, left, bottom, right), position in zip(
            map_patches.corners.tolist(),
            y[map_patches.images, map_patches.map].flatten(1).argmax(1).tolist(),
            strict=True,
        ):
            row, column = divmod(position, 3)
            # 3 x 3 convolutions before and after a 2 x 2 pool: the patch has 8 pixels and starts at 2 row - 3.
            corners = [2 * row - 3, 2 * column - 3, 2 * row + 5, 2 * column + 5]
            assert [top, left, bottom, right] == [min(max(edge, 0), 6) for edge in corners]


def test_an_image_with_the_pattern_of_a_filter_has_the_largest_activation() -> None:
    net, params, _ = network_and_batch("vgg")
    images = torch.zeros(12, 2, 6, 6, dtype=torch.uint8)
    weight = params["conv1"]["weight"][1]  # (2, 3, 3)
    images[7, :, 1:4, 2:5] = 255 * (weight > 0).to(torch.uint8)
    params_without_bias = {**params, "conv1": {**params["conv1"], "bias": 0 * params["conv1"]["bias"]}}
    (patches,) = top_patches(net, params_without_bias, images, "conv1", [1], 1, prepare=lambda x: x.double() / 255)
    assert patches.images.tolist() == [7]
    assert patches.corners.tolist() == [[1, 2, 4, 5]]
    assert_close(patches.value, weight.clamp_min(0).sum()[None], 1e-12)


def test_the_patch_of_a_dense_unit_is_the_whole_image() -> None:
    net, params, x = network_and_batch("resnet")
    patches = top_patches(net, params, x, "scores", count=1, prepare=lambda x: x)
    assert len(patches) == 3
    assert all(unit_patches.corners.tolist() == [[0, 0, 6, 6]] for unit_patches in patches)


def test_unknown_names_are_refused() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="maps 0 to 3, no map 4"):
        top_patches(net, params, x, "relu2", [4], prepare=lambda x: x)
    with pytest.raises(PellucidError, match="'relu9' is none of"):
        top_patches(net, params, x, "relu9")
    with pytest.raises(PellucidError, match="no images"):
        top_patches(net, params, x[:0], "relu2")
