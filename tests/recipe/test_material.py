"""Streamed data (data.stream): the same training as in memory, with image files decoded for each batch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import ImageFolder, MaskFolder, Subset
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.doctor import diagnose
from pellucid.doctor.run_case import case_of_model, case_of_run
from pellucid.recipe import material
from pellucid.recipe.job import Run, train
from pellucid.recipe.material import input_shape, load_arrays, load_material
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume
from pellucid.recipe.run_report.classes import CONFUSION_FILE
from pellucid.recipe.tables import Data
from pellucid.training import loop
from pellucid.training.examples import first_batch
from pellucid.training.step import TrainingStep
from tests.recipe.pictures import write_colour_folder
from tests.training.small import Stopped

SMALL_SETTINGS = {
    "network.model": "airbench",
    "network.width": 4,
    "network.classes": 3,
    "train.epochs": 2,
    "data.size": 12,
}
CAMVID_SETTINGS = {
    "network.width": 2, "train.epochs": 1, "train.batch_size": 4, "augment.crop_size": [16, 16], "data.validation": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def unsplit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def split_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    for part, per_class in (("train", 12), ("val", 3)):
        (root / part).mkdir()
        write_colour_folder(root / part, per_class)
    return root


@pytest.fixture(scope="module")
def camvid_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with images and masks in CamVid's layout, where 11 is the ignored class."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for kind, shape, n_values in ((part, (20, 24, 3), 256), (f"{part}annot", (20, 24), 12)):
            (root / "camvid" / kind).mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, n_values, shape).astype(np.uint8)
                Image.fromarray(pixels).save(root / "camvid" / kind / f"{k}.png")
    return root


def train_in_memory_and_streamed(
    recipe: str, out: Path, data: Path | None = None, **settings: object
) -> tuple[Run, Run]:
    """Train once with images in memory and once with images streamed from files."""
    runs = [
        train(recipe, data=data, out=out, progress=False, **{**settings, "data.stream": stream})
        for stream in (False, True)
    ]
    return runs[0], runs[1]


def result_rows(run: Run) -> list[list[object]]:
    rows = json.loads((run.path / "results.json").read_text())
    return [[name, value] for name, value in rows.items() if name not in ("seconds", "images_per_second")]


@pytest.mark.heavy
@pytest.mark.slow
def test_streamed_pictures_without_splits_give_equal_weights_and_results(unsplit_folder: Path, tmp_path: Path) -> None:
    settings = {
        "data.name": str(unsplit_folder), "data.validation": 0.2, "data.limit": 40, "data.standardize": True,
        "start.whiten": "features.stem.conv",
    }  # fmt: skip
    memory, streamed = train_in_memory_and_streamed("digits", tmp_path, **{**SMALL_SETTINGS, **settings})
    assert result_rows(memory) == result_rows(streamed)
    assert memory.model.preprocess == streamed.model.preprocess
    assert (memory.path / CONFUSION_FILE).read_bytes() == (streamed.path / CONFUSION_FILE).read_bytes()
    assert streamed.report.is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_streamed_grey_pictures_in_splits_give_equal_weights(split_folder: Path, tmp_path: Path) -> None:
    settings = {"data.name": str(split_folder), "data.mode": "L", "augment.flip": True, "augment.rotate": 10.0}
    memory, streamed = train_in_memory_and_streamed("digits", tmp_path, **{**SMALL_SETTINGS, **settings})
    assert result_rows(memory) == result_rows(streamed)
    assert streamed.model.weights["features.stem.conv.weight"].shape[1] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_streamed_masks_give_equal_weights(camvid_root: Path, tmp_path: Path) -> None:
    memory, streamed = train_in_memory_and_streamed("camvid-unet", tmp_path, camvid_root, **CAMVID_SETTINGS)
    assert result_rows(memory) == result_rows(streamed)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_familiarity_is_fitted_equally_in_memory_and_streamed(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    settings = {
        **SMALL_SETTINGS,
        "data.name": str(write_colour_folder(pictures, 40)),
        "data.validation": 0.3,
        "train.epochs": 1,
    }
    memory, streamed = train_in_memory_and_streamed("digits", tmp_path / "runs", **settings)
    assert memory.model.familiarity is not None
    assert streamed.model.familiarity is not None
    assert memory.model.familiarity.to_json() == streamed.model.familiarity.to_json()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_interrupted_streamed_run_is_resumed_exactly_without_loading_images(
    unsplit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("all images were loaded")

    settings = {
        **SMALL_SETTINGS, "data.name": str(unsplit_folder), "data.stream": True, "train.batch_size": 8,
        "train.checkpoint_seconds": 1e-9,
    }  # fmt: skip
    monkeypatch.setattr(material, "load_splits", refuse)
    monkeypatch.setattr(loop, "TICK", 0.0)
    uninterrupted = train("digits", out=tmp_path / "whole", progress=False, **settings)
    original_step, steps_taken = TrainingStep.__call__, list[int]()

    def count_step(self: TrainingStep, *args: object) -> object:
        steps_taken.append(1)
        if len(steps_taken) == 4:
            raise Stopped
        return original_step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", count_step)
        with pytest.raises(Stopped):
            train("digits", out=tmp_path / "broken", progress=False, **settings)
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == uninterrupted.metrics["sha256"]


@pytest.mark.usefixtures("no_report")
def test_the_doctor_reads_a_streamed_run_into_memory(unsplit_folder: Path, tmp_path: Path) -> None:
    settings = {**SMALL_SETTINGS, "data.name": str(unsplit_folder), "data.stream": True, "train.epochs": 1}
    run = train("digits", out=tmp_path, progress=False, **settings)
    assert len(case_of_run(run.path, str(unsplit_folder)).train) == 48


def test_the_splits_of_streamed_data_are_sources(unsplit_folder: Path, split_folder: Path, camvid_root: Path) -> None:
    table = Data(str(unsplit_folder), size=12, stream=True, validation=0.25, limit=32)
    result, arrays = load_material(table, 3), load_arrays(table, 3)
    assert isinstance(result.train, Subset)
    assert isinstance(result.train.source, ImageFolder)  # a single Subset of the files, not nested
    assert [len(part) for part in (result.train, result.validation or (), result.test)] == [24, 8, 12]
    assert len(arrays.train) == 24
    assert isinstance(load_material(Data(str(split_folder), size=12, stream=True), 0).train, ImageFolder)
    assert isinstance(load_material(Data("camvid", stream=True), 0, camvid_root).train, MaskFolder)


def test_masks_of_a_folder_equal_those_of_the_catalogue(camvid_root: Path) -> None:
    from_folder, from_catalogue = (
        load_material(Data(name), 0, camvid_root, 11) for name in (str(camvid_root / "camvid"), "camvid")
    )
    assert from_folder.train.classes == tuple(map(str, range(11)))
    for part, catalogue_part in (
        (from_folder.train, from_catalogue.train),
        (from_folder.test, from_catalogue.test),
    ):
        assert torch.equal(part.x, catalogue_part.x)
        assert torch.equal(part.y, catalogue_part.y)
    streamed = load_material(Data(str(camvid_root / "camvid"), stream=True), 0, None, 11)
    assert [len(part) for part in (streamed.train, streamed.test)] == [10, 4]
    assert torch.equal(streamed.test.batch([2], generator(0)).targets[0], from_catalogue.test.y[2].long())


@pytest.mark.parametrize("stream", [False, True])
def test_a_fifth_of_masks_without_other_splits_is_held_out(camvid_root: Path, tmp_path: Path, stream: bool) -> None:
    for name in ("train", "trainannot"):
        shutil.copytree(camvid_root / "camvid" / name, tmp_path / name)
    result = load_material(Data(str(tmp_path), stream=stream), 0)
    assert [len(part) for part in (result.train, result.test)] == [8, 2]
    for name in ("train", "trainannot"):
        (tmp_path / name).rename(tmp_path / name.replace("train", "street"))
    with pytest.raises(PellucidError, match="has masks for street, but none to train on; name these folders train and"):
        load_material(Data(str(tmp_path), stream=stream), 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by_path", [False, True])
def test_images_with_masks_have_the_mode_of_the_data_table(camvid_root: Path, stream: bool, by_path: bool) -> None:
    table = Data(str(camvid_root / "camvid") if by_path else "camvid", mode="L", stream=stream)
    assert input_shape(table, camvid_root) == (1, 20, 24)
    image = first_batch(load_material(table, 0, camvid_root).train).images[0]
    with Image.open(camvid_root / "camvid/train/0.png") as picture:
        assert torch.equal(float_images(image[0]), float_images(torch.from_numpy(np.array(picture.convert("L")))))
    resized = replace(table, size=12)
    if not stream:
        with pytest.raises(PellucidError, match=r"data\.size.*data\.stream=true"):
            load_material(resized, 0, camvid_root)
        return
    images, masks = first_batch(load_material(resized, 0, camvid_root).train)
    assert images.shape[2:] == masks.shape[1:] == (10, 12)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_recipe_trains_on_a_users_masks_and_the_doctor_reads_them(camvid_root: Path, tmp_path: Path) -> None:
    settings = {**CAMVID_SETTINGS, "data.name": str(camvid_root / "camvid")}
    run = train("camvid-unet", out=tmp_path, progress=False, **settings)
    assert 0 <= run.metrics["miou"] <= 1
    for case in (
        case_of_run(run.path, str(camvid_root / "camvid")),
        case_of_model(run.model, str(camvid_root / "camvid")),
    ):
        assert case.train.y.shape[1:] == (20, 24)
        assert str(diagnose(case))


@pytest.mark.usefixtures("no_report")
def test_the_doctor_reads_the_masks_of_the_data_set_of_a_model(camvid_root: Path, tmp_path: Path) -> None:
    run = train("camvid-unet", data=camvid_root, out=tmp_path, progress=False, **CAMVID_SETTINGS)
    for data in (str(camvid_root), str(camvid_root / "camvid")):
        case = case_of_model(run.model, data)
        assert [len(part) for part in (case.train, case.validation or ())] == [10, 4]
        assert case.train.classes == run.model.classes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "data.stream: digits has no image files to decode on demand; leave it out"),
        ({"data.name": "xor"}, "data.stream: xor has no image files"),
        ({"data.name": "."}, "data.stream: streaming images of a folder needs one size; set data.size"),
        ({"data.name": "./gone", "data.size": 8}, r"\./gone is missing; give a folder or \.zip"),
        ({"data.name": "signs", "data.size": 8}, "signs is missing; it has no download site in this form: put it at "),
    ],
)
def test_data_that_cannot_be_streamed_are_refused(
    settings: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits", {**settings, "data.stream": True})
    with pytest.raises(PellucidError, match=message):
        load_material(recipe.data, 0, tmp_path)
