"""`pellucid explain --pixel` of tiny colorizers."""

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Model
from pellucid.generators import l1, pix2pix
from tests.cli.conftest import Cli


@pytest.fixture
def folder(tmp_path):
    """Save a picture and two models, and return the folder that contains them."""
    pixels = torch.randint(0, 256, (24, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "one.png")
    small = {"width": 2, "levels": 2}
    models = {"l1": l1(**small), "pix2pix": pix2pix(**small, field=16, discriminator_width=2)}
    for name, net in models.items():
        model = Model(net, input_shape=(3, None, None), preprocess={"size": [12, 16]})
        model.save(tmp_path / f"{name}.safetensors")
    return tmp_path


def test_maps_of_both_channels_and_the_doubted_patch_are_written(cli: Cli, folder):
    out = folder / "out"
    output = cli("explain", str(folder / "pix2pix.safetensors"), str(folder / "one.png"), "--pixel", "20,31", "--out",
                str(out), "--json").json  # fmt: skip
    assert (output["row"], output["column"], output["size"]) == (10, 15, [12, 16])
    names = {
        f"{channel}-{method}.{kind}" for channel in "ab" for method in ("lrp", "saliency") for kind in ("png", "npz")
    }
    assert {path.name for path in out.iterdir()} == names | {"patch.png", "patch.npz"}
    top, left, bottom, right = output["patch"]
    with np.load(out / "patch.npz") as arrays:
        assert arrays["scores"].min() == pytest.approx(output["score"])
        outside = np.ones((12, 16), dtype=bool)
        outside[top:bottom, left:right] = False
        assert arrays["map"].max() > 0
        assert not arrays["map"][outside].any()
    with np.load(out / "a-saliency.npz") as arrays:
        assert arrays["map"].shape == (12, 16)
        assert arrays["image"].shape == (3, 12, 16)


def test_a_regression_has_no_discriminator_and_prints_its_colour(cli: Cli, folder):
    words = ("--pixel", "0, 0", "--method", "lrp", "--out", str(folder / "new" / "out"))
    result = cli("explain", str(folder / "l1.safetensors"), str(folder / "one.png"), *words)
    assert result.code == 0, result.err
    assert "pixel 0, 0 of 12x16: a = " in result.out
    assert {path.name for path in (folder / "new" / "out").iterdir()} == {
        "a-lrp.png",
        "a-lrp.npz",
        "b-lrp.png",
        "b-lrp.npz",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pixel", "24,0"), "--pixel 24,0 is outside the image of 24x32; count from 0"),
        (("--pixel", "red"), "--pixel takes ROW,COLUMN counted from 0, such as 12,30, not 'red'"),
        ((), "give a pixel with --pixel ROW,COLUMN"),
    ],
)
def test_invalid_arguments_are_refused_with_a_remedy(cli: Cli, folder, words, message):
    result = cli("explain", str(folder / "l1.safetensors"), str(folder / "one.png"), *words)
    assert result.code == 2
    assert message in result.err


def test_other_models_have_no_pixels(cli: Cli, folder):
    result = cli("explain", "mnist-lenet", str(folder / "one.png"), "--pixel", "1,1")
    assert result.code == 2
    assert "is not a colorizer; leave --pixel out" in result.err
