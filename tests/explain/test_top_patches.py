"""The strongest patches of maps, against a search through everything."""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.explain import deconvnet, top_patches, upto
from pellucid.layers import Mode
from tests.explain.networks import made
from tests.oracle import assert_close, normal
from tests.references import reference_forward


def test_the_nine_strongest_are_found_with_their_deconvolutions() -> None:
    net, params, _ = made("vgg")
    images = normal((40, 2, 6, 6), torch.Generator().manual_seed(3))
    patches = top_patches(net, params, images, "relu2", maps=[2, 0], count=9, prepare=lambda x: x, batch=7)
    assert [one.map for one in patches] == [2, 0]
    y = reference_forward(upto(net, "relu2"), params, images, Mode())
    for one in patches:
        strongest = y[:, one.map].flatten(1).amax(1)
        assert one.images.tolist() == sorted(range(40), key=lambda n: -float(strongest[n]))[:9]
        assert_close(one.value, strongest[one.images], 1e-12)
        expected = deconvnet(net, params, images[one.images], f"relu2[{one.map}]")
        assert_close(one.deconvolution, expected, 1e-12)
        for (top, left, bottom, right), place in zip(
            one.corners.tolist(), y[one.images, one.map].flatten(1).argmax(1).tolist(), strict=True
        ):
            row, column = divmod(place, 3)
            # Convolutions of 3 about a pool of 2: 8 pixels, from 2 row - 3 on.
            wanted = [2 * row - 3, 2 * column - 3, 2 * row + 5, 2 * column + 5]
            assert [top, left, bottom, right] == [min(max(edge, 0), 6) for edge in wanted]


def test_a_patch_is_planted_and_found() -> None:
    net, params, _ = made("vgg")
    images = torch.zeros(12, 2, 6, 6, dtype=torch.uint8)
    weight = params["conv1"]["weight"][1]  # (2, 3, 3)
    images[7, :, 1:4, 2:5] = 255 * (weight > 0).to(torch.uint8)
    unbiased = {**params, "conv1": {**params["conv1"], "bias": 0 * params["conv1"]["bias"]}}
    (one,) = top_patches(net, unbiased, images, "conv1", [1], 1, prepare=lambda x: x.double() / 255)
    assert one.images.tolist() == [7]
    assert one.corners.tolist() == [[1, 2, 4, 5]]
    assert_close(one.value, weight.clamp_min(0).sum()[None], 1e-12)


def test_units_of_a_dense_layer_see_the_whole_image() -> None:
    net, params, x = made("resnet")
    patches = top_patches(net, params, x, "scores", count=1, prepare=lambda x: x)
    assert len(patches) == 3
    assert all(one.corners.tolist() == [[0, 0, 6, 6]] for one in patches)


def test_unknown_names_are_refused() -> None:
    net, params, x = made("vgg")
    with pytest.raises(PellucidError, match="maps 0 to 3, no map 4"):
        top_patches(net, params, x, "relu2", [4], prepare=lambda x: x)
    with pytest.raises(PellucidError, match="'relu9' is none of"):
        top_patches(net, params, x, "relu9")
    with pytest.raises(PellucidError, match="no images"):
        top_patches(net, params, x[:0], "relu2")
