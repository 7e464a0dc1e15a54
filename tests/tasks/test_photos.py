"""Photos generated from label maps: metrics compared with NumPy and scikit-image, and for perfect outputs."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.extend import registry
from pellucid.generators import Regression
from pellucid.layers import Conv2d
from pellucid.losses import L1
from pellucid.model import Model
from pellucid.tasks.translate.measure import evaluate, tiles

LABELS = 3


@pytest.fixture
def folder(tmp_path):
    """Return a folder of photos of 70 x 130 pixels, whose labels are vertical stripes."""
    rng = np.random.default_rng(0)
    for name in ("val", "valannot"):
        (tmp_path / name).mkdir()
    for k in range(3):
        mask = (np.arange(130) // 20 % (LABELS + 1))[None].repeat(70, 0).astype(np.uint8)
        colours = rng.integers(40, 200, (LABELS + 1, 3))
        photo = (colours[mask] + rng.normal(0, 10, (70, 130, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(photo).save(tmp_path / "val" / f"{k}.png")
        Image.fromarray(mask).save(tmp_path / "valannot" / f"{k}.png")
    return tmp_path


def build_model():
    net = Sequential(conv=Conv2d(3, 1))
    return Model(Regression(net, L1("mean"), to="image"), input_shape=(LABELS + 1, 32, 32), seed=1)


def read_photos(folder):
    photos = np.stack([np.asarray(Image.open(file)) for file in sorted((folder / "val").iterdir())]) / 255
    return photos, np.asarray(Image.open(folder / "valannot" / "0.png"))


def test_images_of_flat_colours_have_the_mean_colour_of_each_label(folder):
    result, (photos, mask) = evaluate(build_model(), str(folder)), read_photos(folder)
    flat = np.empty_like(photos)
    for label in range(LABELS + 1):
        flat[:, mask == label] = photos[:, mask == label].mean((0, 1))
    assert result["psnr_flat"] == pytest.approx(-10 * np.log10(((flat - photos) ** 2).mean()), abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    similarities = [structural_similarity(a, b, data_range=1, **options) for a, b in zip(flat, photos, strict=True)]
    assert result["ssim_flat"] == pytest.approx(np.mean(similarities), abs=1e-4)
    assert (result["n"], result["n_tiles"], result["backbone"]) == (3, 6, "cifar")
    assert result["psnr"] < result["psnr_flat"]
    assert result["frechet"] > 0


@dataclass(frozen=True)
class StoredPhotos(Regression):
    """A regression that outputs the stored photos in their order."""

    def predict(self, params, images, hints=None):
        return PHOTOS.pop(0)


PHOTOS = []


def test_the_original_photos_have_the_best_scores(folder):
    PHOTOS[:] = torch.tensor(read_photos(folder)[0]).float().permute(0, 3, 1, 2).unsqueeze(1)
    model = Model(StoredPhotos(Sequential(conv=Conv2d(3, 1)), L1("mean"), to="image"), input_shape=(LABELS + 1, 32, 32))
    evaluation = evaluate(model, str(folder))
    assert evaluation["psnr"] == float("inf")
    assert evaluation["ssim"] == pytest.approx(1)
    assert evaluation["frechet"] == pytest.approx(0, abs=1e-4)
    assert evaluation["frechet_flat"] > 0.01


def test_tiles_are_adjacent():
    photo = torch.arange(130 * 70.0).view(1, 1, 70, 130)
    result = tiles(photo)
    assert result.shape == (2, 1, 60, 60)
    assert torch.equal(result[1], photo[0, :, :60, 60:120])
    assert tiles(photo[..., :10]).shape == (1, 1, 60, 10)


def test_labels_that_the_model_lacks_are_refused(folder):
    Image.fromarray(np.full((70, 130), LABELS + 1, np.uint8)).save(folder / "valannot" / "1.png")
    with pytest.raises(PellucidError, match=r"1.png has the label 4, but the model has labels 0 to 3"):
        evaluate(build_model(), str(folder))


def test_the_command_prints_the_figures(folder, capsys, monkeypatch):
    monkeypatch.setitem(registry.REGISTERED, "StoredPhotos", StoredPhotos)
    model = build_model()
    model.save(folder / "m.safetensors")
    assert main(["evaluate", str(folder / "m.safetensors"), "--data", str(folder), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["n"] == 3
    assert main(["evaluate", str(folder / "m.safetensors"), "--data", str(folder)]) == 0
    assert f"{output['psnr']:.4g}" in capsys.readouterr().out
