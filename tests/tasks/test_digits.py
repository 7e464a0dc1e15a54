"""Pictures of digits are laid out like the training images of MNIST and of the 8 x 8 digits."""

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.tasks.digits import LAYOUTS, MIN_INK, lay_out, lay_out_with_surroundings

MNIST = LAYOUTS["mnist"]


def draw_seven(side: int = 100, top: int = 10, left: int = 15) -> Tensor:
    """Draw a 7, black on white: (1, side, side) uint8."""
    picture = torch.full((1, side, side), 255, dtype=torch.uint8)
    picture[0, top : top + 8, left : left + 40] = 0
    for row in range(60):
        picture[0, top + row, left + 36 - row // 2 : left + 44 - row // 2] = 0
    return picture


def test_dark_ink_on_light_and_light_ink_on_dark_are_laid_out_equally():
    assert torch.equal(lay_out(draw_seven(), MNIST), lay_out(255 - draw_seven(), MNIST))


def test_the_layout_does_not_depend_on_the_position_of_the_ink():
    assert torch.equal(lay_out(draw_seven(120, 5, 5), MNIST), lay_out(draw_seven(120, 50, 60), MNIST))


def test_the_longer_side_of_the_ink_gets_20_pixels():
    ink = lay_out(draw_seven(), MNIST)[0] > 0
    assert int(ink.any(1).sum()) == 20
    assert int(ink.any(0).sum()) == round(20 * 44 / 60)


def test_the_centre_of_mass_is_pixel_14_as_in_mnist():
    ink = lay_out(draw_seven(), MNIST)[0]
    rows = float((ink.sum(1) * torch.arange(28)).sum() / ink.sum())
    columns = float((ink.sum(0) * torch.arange(28)).sum() / ink.sum())
    assert abs(rows - 14) <= 0.5
    assert abs(columns - 14) <= 0.5


def test_an_image_in_the_layout_of_mnist_is_unchanged():
    laid_out = lay_out(draw_seven(), MNIST)
    assert torch.allclose(lay_out(laid_out, MNIST), laid_out, atol=1e-6)


def test_the_8x8_digits_fill_their_height():
    ink = lay_out(draw_seven(), LAYOUTS["digits"])
    assert ink.shape == (1, 8, 8)
    assert bool((ink[0] > 0.1).any(1).all())


def test_thin_strokes_of_a_large_picture_keep_their_darkness():
    picture = torch.full((1, 600, 600), 255, dtype=torch.uint8)
    picture[0, 100:500, 300:302] = 0
    assert float(lay_out(picture, MNIST).max()) == pytest.approx(1)


def test_grey_paper_and_pale_ink_use_the_whole_range():
    picture = torch.full((1, 50, 50), 140, dtype=torch.uint8)
    picture[0, 10:40, 20:25] = 90
    ink = lay_out(picture, MNIST)
    assert (float(ink.min()), float(ink.max())) == (0, 1)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_picture_is_refused_by_name(value: int):
    with pytest.raises(PellucidError, match=r"paper\.png is blank"):
        lay_out(torch.full((1, 30, 30), value, dtype=torch.uint8), MNIST, "paper.png")


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (300, 3), (3, 300)])
def test_pictures_of_any_shape_are_laid_out(shape: tuple[int, int]):
    picture = torch.zeros(1, *shape, dtype=torch.uint8)
    picture[0, 0, 0] = 255
    assert lay_out(picture, MNIST).shape == (1, 28, 28)


def test_noise_of_paper_and_camera_does_not_move_the_digit():
    noise = torch.randint(0, 20, (1, 100, 100), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    noisy = (draw_seven() // 2 + 40 + noise).to(torch.uint8)
    assert float((lay_out(noisy, MNIST) - lay_out(draw_seven(), MNIST)).abs().mean()) < 0.03


@pytest.mark.parametrize("picture", [draw_seven(), 255 - draw_seven(), draw_seven(400, 200, 100)])
def test_surroundings_of_a_digit_on_plain_ground_are_empty(picture: Tensor):
    ink, surroundings = lay_out_with_surroundings(picture, MNIST)
    assert torch.equal(ink, lay_out(picture, MNIST))
    assert float((surroundings - ink).abs().max()) <= MIN_INK


def test_strokes_at_the_border_of_the_picture_are_continued():
    """The ink of a cross fills 20 pixels, and its bars continue through the 4 pixels on each side."""
    picture = torch.zeros(1, 40, 40)
    picture[0, 18:22] = picture[0, :, 18:22] = 1
    ink, surroundings = lay_out_with_surroundings(picture, MNIST)
    for bar in (0, 3, 24, 27):
        assert float(ink[0, bar].max()) == 0
        assert float(ink[0, :, bar].max()) == 0
        assert min(float(surroundings[0, bar].max()), float(surroundings[0, :, bar].max())) > 0.8


def test_light_pixels_near_dark_ink_are_shown_and_not_counted_as_ink():
    picture = torch.full((1, 60, 60), 0.5)
    picture[0, 10:50, 20:26] = 0
    picture[0, 10:50, 34:40] = 0.9
    ink, surroundings = lay_out_with_surroundings(picture, MNIST)
    assert int((ink[0, 14] > 0.1).sum()) < int((surroundings[0, 14] > 0.1).sum())
