"""The note about the images that an evaluation measures, for data with one part only."""

import shutil
from pathlib import Path

import pytest

from pellucid.losses import HeatMaps
from pellucid.model import Model
from pellucid.recipe.job import load_data
from pellucid.recipe.recipe import load_recipe
from pellucid.run.folder import RunFolder
from pellucid.tasks.keypoints.measure import keypoint_source
from tests.tasks.keypoints.drawn import write
from tests.tasks.keypoints.test_keypoints import network


def test_the_note_says_which_images_are_measured_and_whether_they_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write(data, "train", 10, 0)
    recipe = load_recipe("faces-heatmap", {"data.name": str(data)})
    material = load_data(recipe)
    run = RunFolder(tmp_path / "run")
    run.weights.mkdir(parents=True)
    run.recipe.write_text(recipe.to_toml())
    run.write_manifest(0, material.checksums, {})
    trained = Model(network(), HeatMaps(stride=1), input_shape=(3, 24, 24))
    trained.preprocess["data"] = str(data)
    trained.save(run.best)
    model = Model.load(run.best)

    def measured(folder: Path) -> tuple[int, str]:
        capsys.readouterr()
        count = len(keypoint_source(model, str(folder)))
        return count, capsys.readouterr().err

    fifth = "only the fifth that training held out is measured, 2 of 10 images"
    assert measured(data) == (2, f"pellucid: {data}: {fifth}\n")
    copied = Path(shutil.copytree(data, tmp_path / "copied"))
    note = f"all 10 images are measured: the folder is not that of the training ({data})"
    assert measured(copied) == (10, f"pellucid: {copied}: {note}\n")
    write(data, "train", 15, 0)
    note = "the folder has changed since the training, so the model may have been trained on some of the measured"
    assert measured(data) == (3, f"pellucid: {data}: {note} images, 3 of 15 images\n")
    model.source = None
    note = "only the fifth that training held out is measured, 3 of 15 images, provided that the folder is unchanged"
    assert measured(data) == (3, f"pellucid: {data}: {note}\n")
