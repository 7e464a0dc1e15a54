"""Attribution maps as figures, and the files with their values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder
from pellucid.explain.methods import MAGNITUDES, METHODS, explain
from pellucid.report.figures.heat import (
    DIVERGING,
    MAX_OPACITY,
    MIN_OPACITY,
    SEQUENTIAL,
    colour_scale,
    heat,
    matrix,
    occlusion_maps,
    overlay,
    overview,
)
from pellucid.report.figures.pictures import filters, sheet
from pellucid.report.write import write_picture
from tests.explain.networks import network_and_batch

SIGNED_MAP = np.array([[-1.0, 0.0], [0.5, 2.0]])


def test_a_heat_map_has_the_numbers_and_a_bar() -> None:
    figure = heat(np.zeros((1, 2, 2)), SIGNED_MAP, "lrp", ("adds up",))
    image, map_, overlay_plot, bar = figure.axes
    (map_image,) = map_.get_images()
    assert np.array_equal(np.asarray(map_image.get_array()), SIGNED_MAP)
    assert map_image.get_clim() == (-2, 2)
    assert map_image.get_cmap() is DIVERGING
    assert [image.get_title(), map_.get_title(), overlay_plot.get_title()] == ["image", "lrp", "both"]
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["-2", "0", "2"]
    assert [text.get_text() for text in figure.texts] == ["adds up"]
    (map_image,) = heat(np.zeros((3, 2, 2)), np.abs(SIGNED_MAP)).axes[1].get_images()
    assert map_image.get_cmap() is SEQUENTIAL


def test_the_method_decides_whether_0_is_in_the_middle() -> None:
    """Maps without negative values have the diverging colours if their method can give negative values."""
    map_ = torch.tensor([[[0.0, 1.0], [0.5, 2.0]]])
    figure = overview(np.zeros((1, 2, 2)), dict.fromkeys(METHODS, map_[0].numpy()), "all", MAGNITUDES)
    for name, plot in zip(METHODS, figure.axes[1:], strict=True):
        (map_image,) = plot.get_images()
        # methods that take |.| or max(., 0), or multiply attention weights, give magnitudes
        signed = name not in ("saliency", "gradcam", "gradcam_plus_plus", "layercam", "scorecam", "rollout")
        assert map_image.get_clim() == ((-2, 2) if signed else (0, 2))
        assert map_image.get_cmap() is (DIVERGING if signed else SEQUENTIAL)
        assert plot.get_title() == (f"{name} ±" if signed else name)


@pytest.mark.parametrize("method", sorted(MAGNITUDES - {"rollout"}))  # rollout needs attention
def test_methods_of_magnitudes_give_no_negative_values(method: str) -> None:
    net, params, x = network_and_batch("vgg")
    assert all(bool((explain(net, params, x, method, target) >= 0).all()) for target in range(3))


def test_an_overlay_is_more_opaque_where_the_map_is_stronger() -> None:
    picture = np.full((2, 2), 0.4)
    norm, colours = colour_scale(SIGNED_MAP, True)
    blended = overlay(picture, SIGNED_MAP, norm, colours)
    white = np.array(colours(0.5)[:3])
    assert np.allclose(blended[0, 1], (1 - MIN_OPACITY) * 0.4 + MIN_OPACITY * white)
    assert np.allclose(blended[1, 1], (1 - MAX_OPACITY) * 0.4 + MAX_OPACITY * np.array(colours(1.0)[:3]))


def test_the_maps_of_a_sheet_have_a_common_scale() -> None:
    maps = np.arange(12.0).reshape(3, 2, 2)
    figure = sheet(maps, "maps", ["a", "b", "c"])
    for map_image, map_ in zip(figure.axes[0].get_images(), maps, strict=True):
        assert np.array_equal(np.asarray(map_image.get_array()), map_)
        assert map_image.get_clim() == (0, 11)
    assert sheet(maps, "maps", max_maps=2).texts[-1].get_text() == "maps, 2 of 3"
    assert len(filters(np.ones((4, 3, 2, 2))).axes[0].get_images()) == 12


def test_legend_of_occlusion_maps_names_the_predicted_classes() -> None:
    figure = occlusion_maps([[0.9, 0.1]], [[2, 0]], ["cat", "dog", "fox"])
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "fox"]


def test_files_contain_the_picture_and_its_values(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    picture_path, numbers_path = write_picture(
        folder, "lrp", heat(np.zeros((1, 2, 2)), SIGNED_MAP), {"map": torch.tensor(SIGNED_MAP)}
    )
    with Image.open(picture_path) as picture:
        assert picture.format == "PNG"
    with np.load(numbers_path) as arrays:
        assert np.array_equal(arrays["map"], SIGNED_MAP)
    assert {path.name for path in folder.iterdir()} == {"lrp.png", "lrp.npz"}


def test_invalid_maps_images_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="finite"):
        heat(np.zeros((1, 2, 2)), np.full((2, 2), np.nan))
    with pytest.raises(PellucidError, match="1 or 3, H, W"):
        heat(np.zeros((2, 2)), SIGNED_MAP)
    with pytest.raises(PellucidError, match="at least one map"):
        sheet(np.zeros((0, 2, 2)))
    (tmp_path / "file").touch()
    with pytest.raises(PellucidError, match="cannot be created"):
        make_folder(tmp_path / "file" / "folder")


def test_a_matrix_shows_its_numbers() -> None:
    figure = matrix([[1.0, -0.25, 0.0]], ["row"], ["a", "b", "c"])
    plot = figure.axes[0]
    assert [text.get_text() for text in plot.texts] == ["1", "-0.25", "0"]
    assert [label.get_text() for label in plot.get_xticklabels()] == ["a", "b", "c"]
    assert plot.images[0].get_clim() == (-1, 1)
