"""Pictures of any size and kind are colorized, and keep their lightness and opacity."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.generators import Regression
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.losses import L1
from pellucid.model import Model
from pellucid.ops.colour import rgb_to_lab
from pellucid.tasks.colorize.colorizer import Colorizer, is_colorizer, lightness_of
from pellucid.tasks.colorize.hints import Hint
from tests.tasks.colorize.tiny import Hinted, colorizer, conv_net, halving_net


def random_image(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def lab(picture):
    """Return the Lab values (H, W, 3) of a picture (3, H, W) uint8, by scikit-image."""
    return rgb2lab(picture[:3].movedim(0, -1).double().numpy() / 255)


@pytest.mark.parametrize("net", [conv_net, halving_net])
@pytest.mark.parametrize("size", [(1, 1), (37, 501), (16, 16), (7, 40), (1, 300)])
@pytest.mark.parametrize("strength", [0.5, 1, 2])
def test_pictures_of_any_size_keep_their_lightness(net, size, strength):
    image = random_image(3, *size)
    colorized = Colorizer(colorizer(net=net()), strength)(image)
    assert colorized.shape == image.shape
    assert colorized.dtype == torch.uint8
    assert np.abs(lab(colorized)[..., 0] - lab(image)[..., 0]).max() <= 0.5


def test_a_picture_of_the_training_size_has_the_a_and_b_of_the_network():
    model, image = colorizer(), random_image(3, 16, 16)
    expected = model.predict(image[None])[0]
    lightness = lightness_of(image)
    torch.testing.assert_close(Colorizer(model).ab(lightness[None])[0], expected, rtol=0, atol=1e-3)
    actual = lab(Colorizer(model, 0.3)(image))  # most of these colours are in sRGB
    is_close = np.abs(actual[..., 1:] - 0.3 * expected.movedim(0, -1).numpy()).max(-1) < 1.5
    assert is_close.mean() > 0.7


def test_prediction_depends_on_lightness_only():
    """A grey picture gets the same colours from one channel as from three equal ones."""
    grey = random_image(1, 20, 20).expand(3, -1, -1)
    assert torch.equal(Colorizer(colorizer())(grey), Colorizer(colorizer(channels=1))(grey[:1]))


def test_strength_0_returns_the_pixels_of_a_grey_picture():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    colorized = Colorizer(colorizer(), 0)(grey)
    assert torch.equal(colorized, grey.expand(3, -1, -1))
    coloured = Colorizer(colorizer(), 1)(grey)
    assert not torch.equal(coloured, colorized)


def test_the_alpha_channel_is_kept():
    image = random_image(4, 9, 11)
    colorized = Colorizer(colorizer())(image)
    assert torch.equal(colorized[3], image[3])
    assert torch.equal(colorized[:3], Colorizer(colorizer())(image[:3]))
    grey_with_alpha = random_image(2, 9, 11)
    assert torch.equal(
        Colorizer(colorizer())(grey_with_alpha),
        torch.cat((Colorizer(colorizer())(grey_with_alpha[:1]), grey_with_alpha[1:])),
    )


def test_lightness_of_16_bits_is_used():
    grey = torch.linspace(0, 1, 4096).view(1, 64, 64)
    assert (
        np.abs(lab(Colorizer(colorizer())(grey))[..., 0] - rgb_to_lab(grey.expand(3, -1, -1))[0].numpy()).max() <= 0.5
    )


def test_large_pictures_are_reduced_to_the_training_size():
    """Two halves of different lightness get the same colours at any resolution."""
    model = colorizer()
    halves = torch.full((1, 1, 16, 16), 30.0)
    halves[..., 8:] = 70
    large = halves.repeat_interleave(20, 2).repeat_interleave(20, 3)
    small, result = Colorizer(model).ab(halves), Colorizer(model).ab(large)
    assert result.shape == (1, 2, 320, 320)
    away_from_edge = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]  # resizing blurs the edge
    torch.testing.assert_close(
        result[..., 10::20, 10::20][..., away_from_edge], small[..., away_from_edge], rtol=0, atol=2
    )


def test_a_hint_sets_the_colour_of_its_pixel():
    hinted_colorizer = Colorizer(colorizer(Hinted))
    assert hinted_colorizer.takes_hints
    image, red = random_image(1, 16, 16), (200, 40, 40)
    lightness = lightness_of(image)[None]
    without_hints, hinted = hinted_colorizer.ab(lightness).clone(), hinted_colorizer.ab(lightness, [Hint(3, 5, red)])
    expected = rgb2lab(np.array([[red]]) / 255)[0, 0, 1:]
    np.testing.assert_allclose(hinted[0, :, 5, 3].numpy(), expected, atol=0.01)
    without_hints[..., 5, 3] = hinted[..., 5, 3]
    assert torch.equal(without_hints, hinted)
    large = hinted_colorizer.ab(torch.full((1, 1, 160, 160), 50.0), [Hint(35, 55, red)])
    assert large[0, 0, 55, 35] > large[0, 0, 55, 100] + 10
    with pytest.raises(PellucidError, match=r"hint at x=16, y=0 is outside the picture of 16x16"):
        hinted_colorizer.ab(lightness, [Hint(16, 0, red)])
    with pytest.raises(PellucidError, match="the model takes no hints"):
        Colorizer(colorizer()).ab(lightness, [Hint(0, 0, red)])


@pytest.mark.parametrize("strength", [-0.1, 2.5, float("nan")])
def test_strengths_outside_of_0_to_2_are_refused(strength):
    with pytest.raises(PellucidError, match="strength must be from 0"):
        Colorizer(colorizer(), strength)


def test_other_models_are_refused():
    masks = Model(Sequential(Conv2d(2, 3, padding=1)), input_shape=(3, 16, 16))  # a segmentation of two classes
    assert is_colorizer(colorizer())
    for model in (masks, Model(Sequential(Flatten(), Dense(3)), input_shape=(3, 16, 16))):
        assert not is_colorizer(model)
        with pytest.raises(PellucidError, match="not colours; give one that does"):
            Colorizer(model)


def test_outputs_that_are_not_finite_are_an_error():
    model = colorizer()
    model.params["generator"]["ab"]["bias"][:] = float("nan")
    with pytest.raises(PellucidError, match="an output is NaN or infinite"):
        Colorizer(model)(random_image(3, 16, 16))


def test_pictures_are_reduced_to_the_size_of_the_training_images():
    def input_size(**preprocess):
        sizes = []

        class RecordingRegression(Regression):
            def predict(self, params, images, hints=None):
                sizes.append(tuple(images.shape[2:]))
                return images[:, :2] * 0

        model = Model(RecordingRegression(conv_net(), L1("mean")), input_shape=(3, None, None), preprocess=preprocess)
        Colorizer(model)(torch.zeros(1, 480, 640, dtype=torch.uint8))
        return sizes[0]

    assert input_size(size=[90, 120]) == (90, 120)
    assert input_size(data="cifar10") == (32, 43)
    assert input_size() == (224, 299)
