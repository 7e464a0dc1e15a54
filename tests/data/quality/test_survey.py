"""The survey of image files: it reads the same images as the loaders, lists unreadable files and measures blur."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import convolve, laplace

from pellucid.base.errors import PellucidError
from pellucid.data import load_folder
from pellucid.data.quality import is_blurry, sharpness, survey
from pellucid.data.tree import open_tree
from tests.data.quality.photos import file_of, photo, thumbnail

FILES = {
    "cat/a.png": file_of(photo(0)),
    "cat/b.jpg": file_of(photo(1), "JPEG", quality=90),
    "dog/c.png": file_of(photo(2).convert("L")),
    "dog/tiny.png": file_of(Image.new("RGB", (2, 1), (9, 9, 9))),
}
UNREADABLE_FILES = {"cat/broken.png": FILES["cat/a.png"][:200], "dog/empty.jpg": b"", "dog/text.png": b"hello"}


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_are_those_of_the_loader(write_tree, name, mode):
    path = write_tree(name, FILES | UNREADABLE_FILES)
    with open_tree(path) as files:
        surveyed = survey(files, files.names, (24, 30), mode)
    loaded = load_folder(path, (24, 30), mode, on_error="skip")
    assert torch.equal(surveyed.x, loaded.x)
    assert surveyed.files == tuple(FILES)
    assert [fault.file for fault in surveyed.corrupt] == list(UNREADABLE_FILES)
    assert len(loaded.skipped) == len(surveyed.corrupt)


def test_quality_checks_receive_pictures_in_their_original_size(write_tree):
    with open_tree(write_tree("plain", FILES)) as files:
        surveyed = survey(files, files.names, (8, 8))
    assert torch.equal(surveyed.thumbnails[0], thumbnail(photo(0)))
    grey_image = torch.frombuffer(bytearray(photo(0).convert("L").tobytes()), dtype=torch.uint8).reshape(120, 160)
    assert float(surveyed.sharpness[0]) == pytest.approx(sharpness(grey_image))
    assert float(surveyed.sharpness[3]) == 0, "too small to tell"
    assert list(surveyed.digests) == [hashlib.sha256(data).digest() for data in FILES.values()]


def test_large_pictures_are_checked_at_256_pixels(write_tree):
    large = photo(3).resize((1600, 1200), Image.Resampling.NEAREST)
    with open_tree(write_tree("plain", {"a/large.png": file_of(large)})) as files:
        surveyed = survey(files, files.names, (8, 8))
    reduced = large.convert("L").resize((256, 192), Image.Resampling.BILINEAR)
    expected = sharpness(torch.frombuffer(bytearray(reduced.tobytes()), dtype=torch.uint8).reshape(192, 256))
    assert float(surveyed.sharpness[0]) == pytest.approx(expected)


def test_reasons_do_not_repeat_the_file_name(write_tree):
    with open_tree(write_tree("plain", FILES | UNREADABLE_FILES)) as files:
        reasons = {fault.file: fault.reason for fault in survey(files, files.names, (8, 8)).corrupt}
    assert reasons["dog/empty.jpg"] == "is empty; replace it by an image"
    assert reasons["cat/broken.png"].startswith("is damaged or cannot be decoded (")
    assert "is not an image" in reasons["dog/text.png"]


def test_the_last_progress_report_is_the_total(write_tree):
    reports: list[tuple[int, int]] = []
    with open_tree(write_tree("plain", FILES | UNREADABLE_FILES)) as files:
        survey(files, files.names, (8, 8), progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (7, 7)


def test_no_readable_image_and_too_many_pixels_are_errors(write_tree, monkeypatch):
    with (
        open_tree(write_tree("bad", UNREADABLE_FILES)) as files,
        pytest.raises(PellucidError, match=r"none of its 3 .*cat/broken\.png is"),
    ):
        survey(files, files.names, (8, 8))
    monkeypatch.setitem(survey.__globals__, "MAX_DATA_BYTES", 4 * 3 * 8 * 8 - 1)
    with (
        open_tree(write_tree("good", FILES)) as files,
        pytest.raises(PellucidError, match="4 images of 8x8 do not fit"),
    ):
        survey(files, files.names, (8, 8))


def grey_values(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L")))


def sharpness_values(images: list[Image.Image]) -> torch.Tensor:
    return torch.tensor([sharpness(grey_values(image)) for image in images])


def blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def test_sharpness_is_the_ratio_of_the_variances_of_laplacian_and_gradients():
    x = grey_values(photo(0))
    array = x.double().numpy()
    mask = convolve(array, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6)[1:-1, 1:-1] ** 2
    blocks = sorted(
        mask[i : i + 8, j : j + 8].mean() for i in range(0, len(mask) - 7, 8) for j in range(0, mask.shape[1] - 7, 8)
    )
    noise = max(1 / 12, blocks[(len(blocks) - 1) // 2])  # at least that of rounding to integers
    gradients = np.diff(array, axis=0).var() + np.diff(array, axis=1).var()
    noise = noise if gradients >= 5 * noise else 1 / 12
    # The variance of noise is weighed by 4^2 + 4 in the Laplacian, and by 2 in a difference.
    expected = max(0, laplace(array)[1:-1, 1:-1].var() - 20 * noise) / (gradients - 4 * noise)
    assert sharpness(x) == pytest.approx(expected, rel=1e-4)


def noisy(image: Image.Image, deviation: float) -> torch.Tensor:
    """Return the grey values of an image with the noise of a sensor."""
    values = grey_values(image).float()
    return (values + deviation * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)


@pytest.mark.parametrize("deviation", [0.5, 1, 1.5])
@pytest.mark.parametrize("radius", [2, 3])
def test_noise_does_not_hide_blur_and_makes_none(deviation: float, radius: float) -> None:
    sharp = torch.tensor([sharpness(noisy(photo(seed), deviation).byte()) for seed in range(20)])
    assert not is_blurry(sharp).any()
    blurred = [sharpness(noisy(blur(photo(seed), radius), deviation).byte()) for seed in range(20)]
    assert is_blurry(torch.tensor(blurred)).all()
    assert is_blurry(torch.cat([sharp, torch.tensor(blurred[:2])])).nonzero().flatten().tolist() == [20, 21]


@pytest.mark.parametrize("deviation", [1, 3, 8])
def test_an_empty_wall_with_noise_is_not_blurred(deviation: float) -> None:
    walls = [noisy(Image.new("L", (171, 128), 90 + 5 * k), deviation).byte() for k in range(20)]
    assert not is_blurry(torch.tensor([sharpness(wall) for wall in walls])).any()


def test_sharpness_does_not_depend_on_contrast_and_brightness():
    image = photo(1)
    faint = image.point(lambda value: round(0.3 * value + 90))
    assert sharpness(grey_values(faint)) == pytest.approx(sharpness(grey_values(image)), rel=0.02)


@pytest.mark.parametrize("radius", [1.5, 2, 4])
def test_a_few_blurred_images_among_sharp_ones_are_found(radius):
    images = [photo(seed) for seed in range(30)]
    images[4], images[17] = blur(images[4], radius), blur(images[17], radius)
    assert torch.nonzero(is_blurry(sharpness_values(images))).flatten().tolist() == [4, 17]


@pytest.mark.parametrize("radius", [0, 0.3])
def test_no_image_of_a_sharp_collection_is_reported(radius):
    assert not is_blurry(sharpness_values([blur(photo(seed), radius) for seed in range(40)])).any()


def test_all_images_of_a_blurred_collection_are_found():
    assert is_blurry(sharpness_values([blur(photo(seed), 3) for seed in range(20)])).all()


def test_only_large_differences_are_outliers_in_two_pictures():
    assert is_blurry(torch.tensor([2.0, 1.0])).tolist() == [False, False]
    assert is_blurry(torch.tensor([2.0, 0.1])).tolist() == [False, True]
    assert is_blurry(torch.tensor([])).tolist() == []


def test_a_uniform_picture_has_no_sharpness():
    assert sharpness(torch.full((20, 20), 77)) == 0
    assert is_blurry(torch.tensor([2.0, 2.0, 0.0])).tolist() == [False, False, True]


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 9, 9)])
def test_too_small_pictures_are_refused(shape):
    with pytest.raises(PellucidError, match="at least 3 x 3"):
        sharpness(torch.zeros(shape))


@pytest.mark.real
def test_gesture_pictures_are_sharp_and_their_blurred_copies_are_not(real_data):
    images = [Image.open(file) for file in sorted(real_data("signs").glob("val/*/*.jpg"))]
    sharp_values = sharpness_values(images)
    assert not is_blurry(sharp_values).any()
    blurred_values = sharpness_values([blur(image, 1.5) for image in images[:20]])
    assert torch.nonzero(is_blurry(torch.cat([sharp_values, blurred_values]))).flatten().tolist() == list(
        range(309, 329)
    )
