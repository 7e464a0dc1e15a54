"""Explanations of a pixel's colour: gradients compared with autograd, and relevance that sums to the output."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.generators import l1, pix2pix, zhang
from pellucid.generators.translation import CHROMA_SCALE
from pellucid.generators.zhang import colour_table
from pellucid.layers import Mode
from pellucid.task import task_of
from pellucid.tasks.colorize import Colorization
from pellucid.tasks.colorize.colorizer import Colorizer, lightness_of
from pellucid.tasks.colorize.hints import Hint
from pellucid.tasks.colorize.look import ColorizerLook
from pellucid.tasks.colorize.why import explain_pixel, judge_patches
from tests.generators.test_translation import smooth_images
from tests.references import reference_forward

IMAGE = smooth_images(1, 24, 32)[0].float()


def build_model(objective):
    model = Model(objective, input_shape=(3, None, None), precision="float64")
    for weight in model.weights.values():
        if weight.dim() == 4:
            weight.mul_(15)  # so that outputs differ from 0
    return model


@pytest.mark.parametrize("channel", ["a", "b"])
def test_gradients_of_a_pixel_are_those_of_automatic_differentiation(channel):
    colorizer = build_model(l1(width=2, levels=2))
    explanation = explain_pixel(colorizer, IMAGE, 9, 20, channel, "input_x_gradient")
    x = colorizer.objective.read(IMAGE[None].double()).requires_grad_()
    y = reference_forward(colorizer.objective.generator, colorizer.params["generator"], x, Mode())[0, :, 9, 20]
    (dx,) = torch.autograd.grad(y["ab".index(channel)], x)
    torch.testing.assert_close(explanation.map, (dx * x).detach()[0, 0])
    torch.testing.assert_close(
        torch.tensor([explanation.a, explanation.b], dtype=torch.float64), y.detach() * CHROMA_SCALE
    )
    assert explanation.of == f"{channel} / 110"


def test_relevance_adds_up_to_the_output():
    colorizer = build_model(l1(width=2, levels=2, norm="none"))
    for path, bias in colorizer.weights.items():
        if path.endswith("bias"):
            bias.zero_()
    explanation = explain_pixel(colorizer, IMAGE, 9, 20, "b", "lrp")
    assert explanation.map.sum().item() == pytest.approx(explanation.b / CHROMA_SCALE, rel=0.02)


def test_the_bin_of_the_colour_is_explained_for_a_classifier():
    colorizer = build_model(zhang(width=2, levels=2))
    explanation = explain_pixel(colorizer, IMAGE, 9, 21, method="saliency")
    bin_, row, column = (int(word) for word in explanation.target.removeprefix("scores[").rstrip("]").split(", "))
    assert (row, column) == (4, 10)
    distances = (colour_table().centres - torch.tensor([explanation.a, explanation.b])).norm(dim=1)
    assert distances[bin_] == distances.min()
    assert explanation.map.shape == (24, 32)
    assert explanation.map.abs().max() > 0


def test_the_patch_with_the_lowest_discriminator_score_is_found_with_its_pixels():
    colorizer = build_model(pix2pix(width=2, levels=2, field=16, discriminator_width=2, dropout=0.0))
    result = judge_patches(colorizer, IMAGE)
    images = IMAGE[None].double()
    pair = torch.cat(
        [colorizer.objective.read(images), colorizer.objective.predict(colorizer.params, images) / CHROMA_SCALE], 1
    ).requires_grad_()
    y = reference_forward(colorizer.objective.discriminator, colorizer.params["discriminator"], pair, Mode())[0, 0]
    torch.testing.assert_close(result.scores, y.detach())
    assert y[result.lowest] == y.min()
    (dx,) = torch.autograd.grad(y.min(), pair)
    torch.testing.assert_close(result.map, dx[0].abs().amax(0))
    top, left, bottom, right = result.patch
    rows, columns = ((result.map > 0).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    assert (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) == (top, left, bottom, right)


def test_a_pixel_of_a_larger_picture_is_one_pixel_of_the_input():
    colorizer, task = build_model(l1(width=2, levels=2)), Colorization()
    picture = (255 * torch.rand(3, 96, 64)).byte()
    height, width = task.resize_to_input(colorizer, picture).shape[1:]
    for row, column in ((0, 0), (95, 63), (50, 21)):
        area = task.area_to_explain(colorizer, picture, pixel=f"{row},{column}")
        assert area is not None
        top, left = area[:2]
        assert area[2:] == (top + 1, left + 1)
        assert (top, left) == (int(row / 96 * height), int(column / 64 * width))
    with pytest.raises(PellucidError, match="96,0 is outside the image of 96x64"):
        task.area_to_explain(colorizer, picture, pixel="96,0")


def test_invalid_arguments_are_refused_with_a_remedy():
    colorizer = build_model(l1(width=2, levels=2))
    with pytest.raises(PellucidError, match="the pixel 24, 0 is outside the image of 24x32; count from 0"):
        explain_pixel(colorizer, IMAGE, 24, 0)
    with pytest.raises(PellucidError, match="Regression has no discriminator; give a run of pix2pix"):
        judge_patches(colorizer, IMAGE)


@pytest.mark.parametrize("area", [None, (4, 10, 5, 11), (20, 3, 21, 4)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_explained_colour_is_the_one_that_is_shown_with_hints(area: Any, count: int) -> None:
    model = Model(l1(width=8, levels=2, hints=True), input_shape=(1, 32, 32))
    for weight in model.weights.values():
        weight.mul_(4)  # so that hints change the outputs
    look = ColorizerLook(task_of(model), model)
    grey = torch.randint(256, (1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    look.see(grey.expand(3, -1, -1).contiguous())
    hints = [Hint(5 * k + 3, 4 * k + 2, (250, 20 * k, 10)) for k in range(count)]
    look.shown(hints=hints)
    asked = look.ask({}, "b", area)
    row, column = (16, 16) if area is None else area[:2]
    outputs, _ = asked.net.forward(asked.params, asked.x, Mode(keep=False))
    shown = Colorizer(model).ab(lightness_of(look.image)[None], hints)[0, :, row, column]
    torch.testing.assert_close(outputs[0, :, row, column] * CHROMA_SCALE, shown, rtol=0.02, atol=0.2)
    torch.testing.assert_close(asked.scores, shown, rtol=0.02, atol=0.2)
    assert asked.label.endswith(f" at pixel {row}, {column}")


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("follows", [True, False])
def test_how_much_nearer_hints_bring_the_colours_is_said(follows: bool, count: int) -> None:
    model = Model(l1(width=8, levels=2, hints=True), input_shape=(1, 32, 32))
    look = ColorizerLook(task_of(model), model)
    colorizer: Any = look.colorizer
    colorizer.ab = lambda lightness, hints=(): moved(lightness, hints, 0.6 if follows else 0.01)
    picture = torch.randint(256, (1, 40, 50), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    look.see(picture.expand(3, -1, -1).contiguous())
    assert "given" not in look.shown().line
    hints = [Hint(7 * k, 6 * k, (200, 40 * k, 20)) for k in range(count)]
    line = look.shown(hints=hints).line
    share = 60 if follows else 1
    distances = [rgb2lab(np.array(hint.colour) / 255)[1:] for hint in hints]
    before = np.mean([np.hypot(*distance) for distance in distances])
    assert f" {share} % nearer to what was given (from {before:.1f} to {before * (1 - share / 100):.1f} in a" in line
    assert line.endswith("hardly follows hints") == (not follows)
    assert "given" not in look.shown().line  # the hints are removed
    grey = look.shown(hints=[Hint(1, 2, (128, 128, 128))]).line  # nothing is to be changed
    assert "hardly" not in grey


def moved(lightness: torch.Tensor, hints: Any, share: float) -> torch.Tensor:
    """Return a and b that are 0, and at each hint a share of its colour."""
    ab = torch.zeros(1, 2, *lightness.shape[2:])
    for x, y, colour in hints:
        ab[0, :, y, x] = share * torch.tensor(rgb2lab(np.array(colour) / 255)[1:])
    return ab
