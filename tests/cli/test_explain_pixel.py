"""`pellucid explain --pixel` on tiny colorizers."""

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Model
from pellucid.generators import l1, pix2pix
from tests.cli.conftest import Say


@pytest.fixture
def files(tmp_path):
    """Save a picture and two models, and return their folder."""
    pixels = torch.randint(0, 256, (24, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "one.png")
    small = {"width": 2, "levels": 2}
    models = {"l1": l1(**small), "pix2pix": pix2pix(**small, field=16, discriminator_width=2)}
    for name, net in models.items():
        model = Model(net, input_shape=(3, None, None), preprocess={"size": [12, 16]})
        model.save(tmp_path / f"{name}.safetensors")
    return tmp_path


def test_maps_of_both_channels_and_the_doubted_patch_are_written(say: Say, files):
    out = files / "out"
    output = say("explain", str(files / "pix2pix.safetensors"), str(files / "one.png"), "--pixel", "20,31", "--out",
                str(out), "--json").json  # fmt: skip
    assert (output["row"], output["column"], output["size"]) == (10, 15, [12, 16])
    names = {
        f"{channel}-{method}.{kind}" for channel in "ab" for method in ("lrp", "saliency") for kind in ("png", "npz")
    }
    assert {path.name for path in out.iterdir()} == names | {"patch.png", "patch.npz"}
    top, left, bottom, right = output["patch"]
    with np.load(out / "patch.npz") as kept:
        assert kept["scores"].min() == pytest.approx(output["score"])
        outside = np.ones((12, 16), dtype=bool)
        outside[top:bottom, left:right] = False
        assert kept["map"].max() > 0
        assert not kept["map"][outside].any()
    with np.load(out / "a-saliency.npz") as kept:
        assert kept["map"].shape == (12, 16)
        assert kept["image"].shape == (3, 12, 16)


def test_a_regression_has_no_discriminator_and_prints_its_colour(say: Say, files):
    said = say("explain", str(files / "l1.safetensors"), str(files / "one.png"), "--pixel", "0, 0", "--method", "lrp",
               "--out", str(files / "new" / "out"))  # fmt: skip
    assert said.code == 0, said.err
    assert "pixel 0, 0 of 12x16: a = " in said.out
    assert {path.name for path in (files / "new" / "out").iterdir()} == {
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
def test_invalid_arguments_are_refused_with_a_remedy(say: Say, files, words, message):
    said = say("explain", str(files / "l1.safetensors"), str(files / "one.png"), *words)
    assert said.code == 2
    assert message in said.err


def test_other_models_have_no_pixels(say: Say, files):
    said = say("explain", "mnist-lenet", str(files / "one.png"), "--pixel", "1,1")
    assert said.code == 2
    assert "is not a colorizer; leave --pixel out" in said.err
