"""data.stream: the same training as in memory, from image files that are decoded when a batch needs them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data import ImageFolder, MaskFolder, Subset
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.doctor import diagnose
from pellucid.errors import PellucidError
from pellucid.recipe import material
from pellucid.recipe.doctor_case import case_of_model, case_of_run
from pellucid.recipe.job import Run, train
from pellucid.recipe.material import input_shape, load_arrays, load_material
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume
from pellucid.recipe.tables import Data
from pellucid.run_report.classes import CONFUSION
from pellucid.training import fit
from pellucid.training.examples import first_batch
from pellucid.training.step import TrainingStep
from tests.recipe.pictures import folder
from tests.training.small import Stopped

SMALL = {"network.model": "airbench", "network.width": 4, "network.classes": 3, "train.epochs": 2, "data.size": 12}
ROADS = {
    "network.width": 2, "train.epochs": 1, "train.batch_size": 4, "augment.crop_size": [16, 16], "data.validation": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    for part, each in (("train", 12), ("val", 3)):
        (root / part).mkdir()
        folder(root / part, each)
    return root


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of CamVid: 11 is no class."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for kind, shape, most in ((part, (20, 24, 3), 256), (f"{part}annot", (20, 24), 12)):
            (root / "camvid" / kind).mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, most, shape).astype(np.uint8)
                Image.fromarray(pixels).save(root / "camvid" / kind / f"{k}.png")
    return root


def both(recipe: str, out: Path, data: Path | None = None, **settings: object) -> tuple[Run, Run]:
    """Train in memory, and from the files."""
    runs = [
        train(recipe, data=data, out=out, progress=False, **{**settings, "data.stream": stream})
        for stream in (False, True)
    ]
    return runs[0], runs[1]


def measured(run: Run) -> list[list[object]]:
    rows = json.loads((run.path / "results.json").read_text())
    return [[name, value] for name, value in rows.items() if name not in ("seconds", "images_per_second")]


@pytest.mark.slow
def test_streamed_pictures_without_splits_give_equal_weights_and_results(plain: Path, tmp_path: Path) -> None:
    settings = {
        "data.name": str(plain), "data.validation": 0.2, "data.limit": 40, "data.standardize": True,
        "start.whiten": "features.stem.conv",
    }  # fmt: skip
    memory, streamed = both("digits", tmp_path, **{**SMALL, **settings})
    assert measured(memory) == measured(streamed)
    assert memory.model.preprocess == streamed.model.preprocess
    assert (memory.path / CONFUSION).read_bytes() == (streamed.path / CONFUSION).read_bytes()
    assert streamed.report.is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_streamed_grey_pictures_in_splits_give_equal_weights(parts: Path, tmp_path: Path) -> None:
    settings = {"data.name": str(parts), "data.mode": "L", "augment.flip": True, "augment.rotate": 10.0}
    memory, streamed = both("digits", tmp_path, **{**SMALL, **settings})
    assert measured(memory) == measured(streamed)
    assert streamed.model.weights["features.stem.conv.weight"].shape[1] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_streamed_masks_give_equal_weights(roads: Path, tmp_path: Path) -> None:
    memory, streamed = both("camvid-unet", tmp_path, roads, **ROADS)
    assert measured(memory) == measured(streamed)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_familiarity_is_fitted_on_the_same_images(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    settings = {**SMALL, "data.name": str(folder(pictures, 40)), "data.validation": 0.3, "train.epochs": 1}
    memory, streamed = both("digits", tmp_path / "runs", **settings)
    assert memory.model.familiarity is not None
    assert streamed.model.familiarity is not None
    assert memory.model.familiarity.to_json() == streamed.model.familiarity.to_json()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_interrupted_streamed_run_is_resumed_exactly_without_loading_images(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("all images were loaded")

    settings = {
        **SMALL, "data.name": str(plain), "data.stream": True, "train.batch_size": 8, "train.checkpoint_seconds": 1e-9,
    }  # fmt: skip
    monkeypatch.setattr(material, "load_splits", refuse)
    monkeypatch.setattr(fit, "TICK", 0.0)
    whole = train("digits", out=tmp_path / "whole", progress=False, **settings)
    step, taken = TrainingStep.__call__, list[int]()

    def count(self: TrainingStep, *args: object) -> object:
        taken.append(1)
        if len(taken) == 4:
            raise Stopped
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", count)
        with pytest.raises(Stopped):
            train("digits", out=tmp_path / "broken", progress=False, **settings)
    run = resume(tmp_path / "broken/digits-1", progress=False)
    assert run.metrics["sha256"] == whole.metrics["sha256"]


@pytest.mark.usefixtures("no_report")
def test_the_doctor_reads_a_streamed_run_into_memory(plain: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "data.name": str(plain), "data.stream": True, "train.epochs": 1}
    run = train("digits", out=tmp_path, progress=False, **settings)
    assert len(case_of_run(run.path, str(plain)).train) == 48


def test_the_splits_of_streamed_data_are_sources(plain: Path, parts: Path, roads: Path) -> None:
    table = Data(str(plain), size=12, stream=True, validation=0.25, limit=32)
    result, arrays = load_material(table, 3), load_arrays(table, 3)
    assert isinstance(result.train, Subset)
    assert isinstance(result.train.source, ImageFolder)  # one subset of the files, not a subset of subsets
    assert [len(part) for part in (result.train, result.validation or (), result.test)] == [24, 8, 12]
    assert len(arrays.train) == 24
    assert isinstance(load_material(Data(str(parts), size=12, stream=True), 0).train, ImageFolder)
    assert isinstance(load_material(Data("camvid", stream=True), 0, roads).train, MaskFolder)


def test_masks_of_a_folder_are_those_of_the_catalogue(roads: Path) -> None:
    own, named = (load_material(Data(name), 0, roads, 11) for name in (str(roads / "camvid"), "camvid"))
    assert own.train.classes == tuple(map(str, range(11)))
    for mine, theirs in ((own.train, named.train), (own.test, named.test)):
        assert torch.equal(mine.x, theirs.x)
        assert torch.equal(mine.y, theirs.y)
    streamed = load_material(Data(str(roads / "camvid"), stream=True), 0, None, 11)
    assert [len(part) for part in (streamed.train, streamed.test)] == [10, 4]
    assert torch.equal(streamed.test.batch([2], generator(0)).targets[0], named.test.y[2].long())


@pytest.mark.parametrize("stream", [False, True])
def test_a_fifth_of_masks_without_another_part_is_held_out(roads: Path, tmp_path: Path, stream: bool) -> None:
    for name in ("train", "trainannot"):
        shutil.copytree(roads / "camvid" / name, tmp_path / name)
    result = load_material(Data(str(tmp_path), stream=stream), 0)
    assert [len(part) for part in (result.train, result.test)] == [8, 2]
    for name in ("train", "trainannot"):
        (tmp_path / name).rename(tmp_path / name.replace("train", "street"))
    with pytest.raises(PellucidError, match="has masks for street, but none to train on; name these folders train and"):
        load_material(Data(str(tmp_path), stream=stream), 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_the_mode_of_images_with_masks(roads: Path, stream: bool, own: bool) -> None:
    table = Data(str(roads / "camvid") if own else "camvid", mode="L", stream=stream)
    assert input_shape(table, roads) == (1, 20, 24)
    image = first_batch(load_material(table, 0, roads).train).images[0]
    with Image.open(roads / "camvid/train/0.png") as picture:
        assert torch.equal(float_images(image[0]), float_images(torch.from_numpy(np.array(picture.convert("L")))))
    resized = replace(table, size=12)
    if not stream:
        with pytest.raises(PellucidError, match=r"data\.size.*data\.stream=true"):
            load_material(resized, 0, roads)
        return
    images, masks = first_batch(load_material(resized, 0, roads).train)
    assert images.shape[2:] == masks.shape[1:] == (10, 12)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_recipe_trains_on_masks_of_ones_own_and_the_doctor_reads_them(roads: Path, tmp_path: Path) -> None:
    settings = {**ROADS, "data.name": str(roads / "camvid")}
    run = train("camvid-unet", out=tmp_path, progress=False, **settings)
    assert 0 <= run.metrics["miou"] <= 1
    for case in (case_of_run(run.path, str(roads / "camvid")), case_of_model(run.model, str(roads / "camvid"))):
        assert case.train.y.shape[1:] == (20, 24)
        assert str(diagnose(case))


@pytest.mark.usefixtures("no_report")
def test_the_doctor_reads_the_masks_that_a_model_names(roads: Path, tmp_path: Path) -> None:
    run = train("camvid-unet", data=roads, out=tmp_path, progress=False, **ROADS)
    for data in (str(roads), str(roads / "camvid")):
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
def test_data_that_cannot_be_streamed_are_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    recipe = load_recipe("digits", {**settings, "data.stream": True})
    with pytest.raises(PellucidError, match=message):
        load_material(recipe.data, 0, tmp_path)
