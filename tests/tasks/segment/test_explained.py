"""Explanations and traces of a class at a pixel, over a region, and where it is predicted, compared with autograd."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.explain import explain
from pellucid.explain.occlusion import occlude
from pellucid.layers import Conv2d, Mode, ReLU
from pellucid.losses import Focal, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.tasks.segment.explained import region_of_class, restrict_loss
from tests.references import reference_forward

CLASSES = ("ground", "traffic sign", "disc")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
X = torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def model() -> Model:
    net = Sequential(conv=Conv2d(6, 3, padding=1), relu=ReLU(), scores=Conv2d(3, 1))
    model = Model(net, SoftmaxCrossEntropy(), input_shape=(3, 12, 16), classes=CLASSES, seed=1)
    for tensor in model.params["conv"], model.params["scores"]:
        tensor["weight"] *= 3  # so that every class is predicted somewhere
    assert set(predicted_mask(model).flatten().tolist()) == {0, 1, 2}
    return model


@pytest.fixture(scope="module")
def files(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("segment")
    model.save(folder / "m.safetensors")
    Image.fromarray(PIXELS).save(folder / "street.png")
    return str(folder / "m.safetensors"), str(folder / "street.png")


def logits(model: Model, x: torch.Tensor) -> torch.Tensor:
    return reference_forward(model.net, model.params, x, Mode())


def predicted_mask(model: Model) -> torch.Tensor:
    return logits(model, X[None])[0].argmax(0)


def rectangle_mask(rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(12, 16, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


WINDOWS = {
    "5, 7": rectangle_mask(slice(5, 6), slice(7, 8)),
    "2:6, 8:": rectangle_mask(slice(2, 6), slice(8, 16)),
    ":,0": rectangle_mask(slice(0, 12), slice(0, 1)),
}


@pytest.mark.parametrize("window", ["", *WINDOWS])
def test_saliency_is_the_gradient_of_the_mean_score(model: Model, window: str) -> None:
    mask = WINDOWS.get(window, predicted_mask(model) == 2)
    leaf = X[None].clone().requires_grad_()
    (expected,) = torch.autograd.grad(logits(model, leaf)[0, 2][mask].mean(), leaf)
    target = region_of_class(model, X, 2, window)
    torch.testing.assert_close(model.explain(X[None], "saliency", target, signed=True), expected)


def test_default_region_is_that_of_the_most_frequent_class(model: Model) -> None:
    target = region_of_class(model, X)
    counts = predicted_mask(model).flatten().bincount()
    assert target.classes.tolist() == [counts.argmax()]
    assert target.where == f"where it is predicted, {counts.max()} pixels"


def test_region_of_a_class_is_that_of_the_unchanged_image(model: Model) -> None:
    """Attributions add up to the change of the scores at the pixels predicted as the class in the unchanged image."""
    batch = torch.stack([X, X.flip(2)])
    masks = logits(model, batch).argmax(1) == 1
    change = logits(model, batch)[:, 1] - logits(model, torch.zeros_like(batch))[:, 1]
    explanation = model.explain(batch, "integrated_gradients", 1, steps=200)
    torch.testing.assert_close(explanation.flatten(1).sum(1), (change * masks).flatten(1).sum(1), rtol=2e-3, atol=1e-3)
    noisy = model.explain(batch, "smoothgrad", 1, samples=3, noise=2.0)
    without_noise = torch.cat(
        [explain(model.net, model.params, image[None], "smoothgrad", 1, noise=0.0) for image in batch]
    )
    assert noisy.shape == without_noise.shape
    torch.testing.assert_close(without_noise, model.explain(batch, "saliency", 1, signed=True))


def test_occlusion_scores_the_same_pixels_for_each_square(model: Model) -> None:
    occluded = occlude(model.net, model.params, X[None], 1, square=4, stride=4)
    mask = predicted_mask(model) == 1
    assert occluded.predicted is None
    assert occluded.baseline[0] == pytest.approx(float(logits(model, X[None])[0, 1][mask].sum()), rel=1e-5)
    for row in range(3):
        for column in range(4):
            occluded_image = X.clone()
            occluded_image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
            expected = float(logits(model, occluded_image[None])[0, 1][mask].sum())
            assert float(occluded.score[0, row, column]) == pytest.approx(expected, rel=1e-4)


def test_commands_explain_and_trace_regions(
    model: Model, files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target", "traffic sign[2:6, 8:]", "--method", "saliency", "--out", str(tmp_path / "out"), "--json"]
    assert main(["explain", *files, *arguments]) == 0
    output = json.loads(capsys.readouterr().out)
    mask = WINDOWS["2:6, 8:"]
    scores = logits(model, X[None])
    assert output["target"] == "traffic sign [2:6, 8:]"
    assert output["score"] == pytest.approx(float(scores[0, 1][mask].mean()), rel=1e-5)
    assert 0 <= output["methods"]["saliency"]["deletion"] <= 1  # a mean probability
    assert (tmp_path / "out" / "index.html").is_file()

    assert main(["trace", *files, "--target", "2[5, 7]", "--weight", "scores.bias[2]", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["target"] == "disc [5, 7]"
    assert output["trace"]["loss"] == pytest.approx(
        float(F.cross_entropy(scores[:, :, 5, 7], torch.tensor([2]))), rel=1e-5
    )
    p = float(scores[0, :, 5, 7].softmax(0)[2])
    assert output["explanation"]["gradient"] == pytest.approx(p - 1, rel=1e-5)

    assert main(["trace", *files, "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    expected = F.cross_entropy(scores, scores.argmax(1))
    assert output["trace"]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_restricted_loss_ignores_pixels_outside_of_the_region(model: Model) -> None:
    with_ignore = Model(model.net, Focal(ignore=7), input_shape=(3, 12, 16))
    new_model, targets = restrict_loss(with_ignore, X, region_of_class(model, X, 1, "5, 7"))
    assert new_model.loss == Focal(ignore=7)
    assert targets.unique().tolist() == [1, 7]
    with pytest.raises(PellucidError, match="Quadratic has no `ignore` and so counts all pixels"):
        restrict_loss(Model(model.net, Quadratic(), input_shape=(3, 12, 16)), X, region_of_class(model, X, 1, "5, 7"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sky", "the model has no class 'sky'; its classes are ground, traffic sign, disc"),
        ("disc[12, 0]", "[12, 0] is not in an image of 12 rows and 16 columns; write a pixel as [ROW, COLUMN]"),
        ("disc[3]", "[3] is not in an image"),
        ("disc[]", "[] is not in an image"),
        ("disc[4:4, 0]", "[4:4, 0] is not in an image"),
        ("disc[-1, 0]", "[-1, 0] is not in an image"),
        ("disk[1, 0]", "'disk'"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "trace"])
def test_invalid_arguments_are_reported_in_one_line(files, target: str, message: str, command: str, capsys) -> None:
    assert main([command, *files, "--target", target]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
