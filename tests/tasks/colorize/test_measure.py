"""Metrics of colorizers on folders of colour images, compared with NumPy and scikit-image."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity
from sklearn.metrics import mean_squared_error

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data.tree import open_tree
from pellucid.model import Model
from pellucid.run.folder import weights_file
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import CifarBackbone, colour_images, evaluate
from tests.tasks.colorize.tiny import colorizer


@pytest.fixture
def folder(tmp_path):
    """Return a folder of five smooth images of several sizes, with moderate colours."""
    rng = torch.Generator().manual_seed(0)
    root = tmp_path / "photos"
    for k, size in enumerate([(16, 16), (16, 16), (20, 14), (9, 30), (32, 32)]):
        coarse = torch.rand(1, 3, 3, 3, generator=rng) * 0.6 + 0.2
        image = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
        (root / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(root / "deep" / f"{k}.png")
    return root


def pooled_psnr(pairs):
    return -10 * np.log10(mean_squared_error(*(np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))))


def test_metrics_of_a_folder_are_computed(folder):
    evaluation = evaluate(colorizer(), str(folder))
    true = [np.asarray(Image.open(file)) for file in sorted(folder.glob("deep/*"))]
    colorize, turn_grey = Colorizer(colorizer()), Colorizer(colorizer(), 0)
    for suffix, apply in (("", colorize), ("_grey", turn_grey)):
        colorized = [apply(torch.tensor(image).permute(2, 0, 1)).permute(1, 2, 0).numpy() for image in true]
        pairs = [(a / 255, b / 255) for a, b in zip(colorized, true, strict=True)]
        assert evaluation[f"psnr{suffix}"] == pytest.approx(pooled_psnr(pairs), abs=1e-4)
        delta = [deltaE_ciede2000(rgb2lab(a), rgb2lab(b)).ravel() for a, b in pairs]
        assert evaluation[f"delta_e{suffix}"] == pytest.approx(np.concatenate(delta).mean(), abs=2e-3)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
        similarities = [
            structural_similarity(a, b, data_range=1, **options) for a, b in pairs if min(a.shape[:2]) >= 11
        ]
        assert len(similarities) == 4
        assert evaluation[f"ssim{suffix}"] == pytest.approx(np.mean(similarities), abs=1e-4)
    assert (evaluation["n"], evaluation["n_judged"], evaluation["backbone"], evaluation["skipped"]) == (
        5,
        5,
        "cifar",
        {},
    )
    assert evaluation["colourfulness_grey"] == 0
    assert evaluation["colourfulness_true"] > 5
    assert evaluation["frechet_grey"] > 0


def test_the_original_images_have_the_best_scores(folder):
    """The originals are grey, so they equal the outputs with strength 0, whose metrics end in `_grey`."""
    for file in folder.glob("deep/*"):
        Image.open(file).convert("L").save(file)
    evaluation = evaluate(colorizer(), str(folder))
    assert evaluation["psnr_grey"] > 60
    assert evaluation["delta_e_grey"] < 0.1
    assert evaluation["ab_overlap_grey"] == evaluation["answers_grey"] == 1
    assert evaluation["frechet_grey"] == pytest.approx(0, abs=1e-3)
    assert evaluation["psnr"] < 40


def test_the_backbone_is_the_shipped_classifier():
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    result = CifarBackbone()(images)
    model = Model.load(weights_file("cifar"))
    assert torch.equal(result.classes, model.predict(images).argmax(1))
    assert result.features.shape == (6, 256)
    assert CifarBackbone()(torch.rand(2, 3, 50, 40)).classes.shape == (2,)


def test_only_the_held_out_part_of_a_folder_is_measured(tmp_path):
    for name in ("train/a.png", "val/b.png", "val/deep/c.JPG", "valannot/b.png", "trainannot/a.png", "val/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with open_tree(tmp_path) as tree:
        assert colour_images(tree) == ["val/b.png", "val/deep/c.JPG"]
    (tmp_path / "train/a.png").unlink()
    with open_tree(tmp_path) as tree:  # without a training part
        assert colour_images(tree) == ["val/b.png", "val/deep/c.JPG"]


def test_the_command_prints_the_figures(folder, save, run, capsys):
    model = save()
    code, output, err = run("evaluate", model, "--data", folder)
    assert code == 0
    assert output["n"] == 5
    assert isinstance(output["psnr"], float)
    assert isinstance(output["psnr_grey"], float)
    assert (output["skipped"], err) == ({}, "")
    assert main(["evaluate", model, "--data", str(folder)]) == 0
    text = capsys.readouterr().out
    assert f"{output['psnr']:.2f}" in text
    assert "grey" in text


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(PellucidError, match="contains no images"):
        evaluate(colorizer(), str(tmp_path))
    with pytest.raises(PellucidError, match="does not name its training data"):
        evaluate(colorizer())


def test_training_images_among_the_measured_ones_are_reported(folder, capsys):
    model = colorizer()
    model.preprocess["data"] = str(folder)
    assert evaluate(model)["n"] == 5
    assert "has no held-out part" in capsys.readouterr().err
    (folder / "deep").rename(folder / "val")
    assert evaluate(model)["n"] == 5
    assert capsys.readouterr().err == ""
