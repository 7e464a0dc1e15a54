"""From a folder to a calibrated model: the settings of the recipe, and the contents of the run folder."""

import json
import signal
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.data import Dataset
from pellucid.model import Model
from pellucid.recipe.checked.collection import class_weights
from pellucid.recipe.checked.reading import read_checked, read_collection
from pellucid.recipe.job import begin_run, train_in
from pellucid.recipe.own import recipe_for
from pellucid.recipe.recipe import FINDINGS_FILE, load_recipe, recipe_of_run
from pellucid.recipe.resume import resume
from pellucid.tasks.classify.confidence import measure_confidence
from pellucid.tasks.gestures.backbone import enough_epochs
from pellucid.tasks.pictures import held_out
from pellucid.training.progress import ProgressLine
from tests.data.quality.photos import file_of

RECIPE = "signs-best"
SMALL = {"start.weights": "", "network.width": 2, "train.epochs": 1, "data.size": 16, "train.precision": "float32"}


def stripes(seed: int, upright: bool) -> bytes:
    """Return the file of a noisy picture of stripes."""
    rng = np.random.default_rng(seed)
    wave = 128 + 90 * np.sin(np.arange(40) / rng.uniform(1.5, 2.5) + rng.uniform(0, 6))
    picture = np.tile(wave, (40, 1)) + rng.normal(0, 25, (40, 40))
    picture = np.clip(picture if upright else picture.T, 0, 255).astype(np.uint8)
    return file_of(Image.fromarray(picture))


@pytest.fixture
def folder(tree):
    names = {"lying": 0, "upright": 1}
    return tree("mine", {f"{n}/{k:02}.png": stripes(100 * c + k, bool(c)) for n, c in names.items() for k in range(15)})


def recipe_of(folder, settings):
    """Return the recipe of `gestures train`."""
    return recipe_for("classify", str(folder), {"recipe.name": "gestures", **settings, "data.check": True})[0]


def learn(recipe, out, progress=False):
    """Train as `gestures train` does."""
    collection = read_checked(recipe)
    path, model = begin_run(recipe, collection, out)
    return train_in(path, collection, progress, model=model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.size": 0}, "data.size is 0"),
        ({"data.limit": 5}, "data.limit"),
        ({"data.size": 17}, "nowhere is missing"),
    ],
)
def test_recipes_that_cannot_use_a_folder_are_refused_before_reading(settings, message):
    with pytest.raises(PellucidError, match=message):
        read_checked(load_recipe(RECIPE, {**SMALL, **settings, "data.name": "nowhere", "data.check": True}))


def test_the_recipe_gets_the_number_of_classes_and_enough_epochs(folder):
    settings = {key: value for key, value in SMALL.items() if key != "train.epochs"}
    recipe = recipe_of(folder, settings)
    assert recipe.network.arguments["classes"] == 2
    assert recipe.loss.arguments["class_weights"] is None
    assert recipe.train.epochs == 100, "the most of `train classify`"
    assert enough_epochs(recipe, 24) == 300, "one step in each, since the pictures are one batch"
    assert enough_epochs(recipe, 24 * recipe.train.batch_size) == 100
    assert recipe_of(folder, SMALL).train.epochs == 1, "the user's word is the last"


def test_imbalanced_classes_get_weights(tree):
    files = {f"a/{k}.png": stripes(k, True) for k in range(15)} | {
        f"b/{k}.png": stripes(99 - k, False) for k in range(5)
    }
    folder = tree("mine", files)
    weights = recipe_of(folder, SMALL).loss.arguments["class_weights"]
    assert weights == pytest.approx(class_weights(read_collection(folder, 16).train.counts()), abs=1e-6)
    user_settings = {**SMALL, "loss.class_weights": [1.0, 2.0]}
    assert recipe_of(folder, user_settings).loss.arguments["class_weights"] == (1.0, 2.0)


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_learns_and_is_calibrated(folder, tmp_path):
    recipe = recipe_of(folder, {**SMALL, "network.width": 8, "train.epochs": 25, "train.batch_size": 8})
    run = learn(recipe, tmp_path / "runs")
    assert run.path == tmp_path / "runs" / "gestures-1"
    assert run.metrics["n"] == 6
    model = Model.load(run.path / "weights" / "best.safetensors")
    assert model.confidence is not None
    assert model.confidence == run.model.confidence
    assert model.classes == ("lying", "upright")
    assert model.sha256() == json.loads((run.path / "results.json").read_bytes())["sha256"]
    assert run.metrics["accuracy"] >= 5 / 6


@pytest.mark.slow
def test_the_weights_are_selected_on_the_validation_part(tree):
    """The validation part of a folder is used, although the recipe splits off no validation data."""
    parts = {"train": 6, "val": 3, "test": 3}
    files = {
        f"{part}/{name}/{k}.png": stripes(1000 * p + 100 * c + k, bool(c))
        for p, (part, count) in enumerate(parts.items())
        for c, name in enumerate(("lying", "upright"))
        for k in range(count)
    }
    folder = tree("parts", files)
    run = learn(recipe_of(folder, SMALL), folder.parent / "runs")
    assert not run.recipe.data.validation
    assert "has no validation images" not in run.report.read_text()
    assert json.loads((run.path / "results.json").read_bytes())["weights"] == "best"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_run_stopped_by_ctrl_c_is_resumed(folder, tmp_path, monkeypatch):
    recipe = recipe_of(folder, {**SMALL, "train.epochs": 3})
    uninterrupted = learn(recipe, tmp_path / "whole")

    def interrupt(self, training, row):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "on_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt, match="pellucid train --resume") as caught:
            learn(recipe, tmp_path / "cut", progress=True)
    path = tmp_path / "cut" / "gestures-1"
    assert str(path) in str(caught.value)
    assert recipe_of_run(path) == recipe
    run = resume(path, progress=False)
    assert run.model.sha256() == uninterrupted.model.sha256()
    assert run.model.confidence == uninterrupted.model.confidence


@pytest.mark.usefixtures("no_report")
def test_runs_of_earlier_releases_are_resumed_with_the_same_pictures(folder, tmp_path):
    """Their recipes lack data.check, and have the findings in the run folder."""
    recipe = recipe_of(folder, {**SMALL, "train.epochs": 1})
    run = learn(recipe, tmp_path)
    recipe_file = run.path / "recipe.toml"
    recipe_file.write_text(recipe_file.read_text().replace("check = true\n", ""))
    (run.path / FINDINGS_FILE).write_text("{}")
    assert not load_recipe(recipe_file).data.check
    assert recipe_of_run(run.path) == run.recipe
    (run.path / "results.json").unlink()
    assert resume(run.path, progress=False).metrics["n"] == 6


@pytest.mark.usefixtures("no_report")
def test_an_unfinished_run_is_evaluated_on_its_held_out_pictures(folder, tmp_path, monkeypatch):
    for k in range(15):  # a split by pictures would separate these copies
        (folder / "lying" / f"again{k}.png").write_bytes((folder / "lying" / f"{k:02}.png").read_bytes())
    recipe = recipe_of(folder, {**SMALL, "train.epochs": 2})
    held_out_sets: list[Dataset] = []

    def record_held_out(self, training, row):
        files = (tmp_path / "runs").glob("*/weights/*.safetensors")
        held_out_sets.extend(held_out(Model.load(file), str(folder)) for file in files)

    monkeypatch.setattr(ProgressLine, "on_epoch_end", record_held_out)
    learn(recipe, tmp_path / "runs", progress=True)
    assert held_out_sets
    assert {data.checksum for data in held_out_sets} == {read_checked(recipe).test.checksum}


@pytest.mark.usefixtures("no_report")
def test_evaluation_uses_the_held_out_pictures_of_the_training_after_others_are_added(folder, tmp_path):
    recipe = recipe_of(folder, SMALL)
    run = learn(recipe, tmp_path / "runs")
    expected = read_checked(recipe).test.checksum
    for k in range(12):
        (folder / "lying" / f"{k:02}-more.png").write_bytes(stripes(500 + k, False))
    test_data = held_out(Model.load(run.path / "weights/best.safetensors"), str(folder))
    assert test_data.checksum == expected


@pytest.mark.usefixtures("no_report")
def test_no_confidence_is_fitted_to_scores(folder, tmp_path):
    recipe = recipe_of(folder, {**SMALL, "loss.name": "hinge"})
    run = learn(recipe, tmp_path)
    assert run.model.confidence is None
    assert measure_confidence(run.model, read_checked(recipe)) == (
        None,
        "not fitted, because the network outputs scores, not probabilities",
    )


class FixedModel:
    """A model that predicts the given probabilities for any input."""

    def __init__(self, probabilities: Tensor, confidence: Confidence) -> None:
        self.probabilities, self.confidence = probabilities, confidence

    def predict(self, x: object) -> Tensor:
        return self.probabilities


@pytest.mark.parametrize(("n_per_class", "validation"), [(100, 0.0), (15, 0.0), (15, 0.2)])
def test_the_confidence_is_never_measured_on_pictures_it_was_fitted_on(tree, n_per_class, validation):
    files = {f"{n}/{k:03}.png": stripes(1000 * c + k, bool(c)) for c, n in enumerate("ab") for k in range(n_per_class)}
    collection = read_collection(tree("mine", files), 16, validation=validation)
    n = len(collection.test.files)
    confidences = torch.linspace(0.6, 0.99, n)
    is_true_class = torch.arange(2) == collection.test.y[:, None]  # (N, 2): always right
    probabilities = torch.where(is_true_class, confidences[:, None], 1 - confidences[:, None])
    confidence = Confidence(1.0, 0.9)
    model = cast("Model", FixedModel(probabilities, confidence))
    result, description = measure_confidence(model, collection)
    if validation:
        assert result is not None
        assert result.n_answered == int((confidences >= 0.9).sum()), "by the confidence as it is"
        assert description == "fitted on the validation part"
    elif n_per_class == 15:
        assert (result, n) == (None, 6)
        assert "too few" in description
    else:
        assert result is not None
        assert (result.n_pictures, result.answered_accuracy) == (40, 1.0)
        assert result.n_answered > int((confidences >= 0.9).sum()), "by what each half says of the other"
        assert "each half" in description
