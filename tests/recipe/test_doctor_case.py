"""Cases of the doctor, read from run folders and from model files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import load
from pellucid.doctor import diagnose
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.run_case import case_of_model, case_of_run, splits_for
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.recipe.job import train
from pellucid.recipe.model_data import _has_checksums_of_run
from pellucid.recipe.resume import resume
from pellucid.training.diagnose import StoppedError
from tests.doctor.detection.test_objects import write_voc
from tests.reports import without_report

SHORT_SETTINGS = {"train.epochs": 2, "data.limit": 400}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder of digits: two epochs, with validation data and shifted images."""
    settings = {**SHORT_SETTINGS, "data.validation": 0.2, "augment.shift": 0.2, "optimizer.lr": 0.004, "recipe.seed": 3}
    with without_report():
        return train("digits", out=tmp_path_factory.mktemp("runs"), progress=False, **settings).path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of 12x12 pictures in two classes, "3" and "8"."""
    for name, shade in (("3", 40), ("8", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(6):
            Image.new("L", (12, 12), shade + k).save(tmp_path / "pictures" / name / f"{k}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_a_case_of_a_run_has_its_model_data_history_and_augmentation(run: Path) -> None:
    case = case_of_run(run)
    assert case.model.sha256() == json.loads((run / "results.json").read_text())["sha256"]
    assert case.model.optimizer == Adam(0.004)
    assert (case.epochs, case.batch_size, case.trainable, case.stopped, case.trained) == (2, 32, True, "", True)
    assert case.validation is not None
    digits = load("digits").train
    parts = digits.subset(torch.arange(400)).split(0.2, 3)
    assert torch.equal(case.train.x, parts.train.x)
    assert torch.equal(case.validation.y, parts.test.y)
    assert case.history is not None
    assert len(case.history) == 2
    assert case.history.layers
    assert case.augment is not None
    augmented = case.augment(case.train.x[:4].clone(), torch.Generator().manual_seed(0))
    assert not torch.equal(augmented, case.train.x[:4])


def test_the_case_begins_with_the_initial_weights_of_the_run(run: Path) -> None:
    case = case_of_run(run)
    initial = Model(case.model.net, seed=3, input_shape=(1, 8, 8))
    assert case.initial.sha256() == initial.sha256()
    case.rehearse(RehearsalSettings(1))
    begun_model = case.begin()
    begun_model.weights["features.dense1.weight"].zero_()
    assert case.begin().sha256() == initial.sha256()


@pytest.mark.slow
def test_a_run_without_weights_is_reported(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    values = diagnose(case_of_run(tmp_path), checks=[]).to_json()
    assert not values["trained"]
    assert "not trained yet" in values["notes"][0]
    assert values["notes"][1].startswith("stopped before the end of epoch 1 of 2,")
    assert diagnose(case_of_run(run), checks=[]).to_json()["notes"] == []


def test_an_interrupted_run_names_its_epoch_and_how_to_resume(run: Path, tmp_path: Path) -> None:
    interrupted_run = Path(shutil.copytree(run, tmp_path / "cut"))
    (interrupted_run / "results.json").unlink()
    assert case_of_run(interrupted_run).notes == ()  # all epochs were trained; only the evaluation is missing
    rows = (interrupted_run / "metrics.csv").read_text().splitlines(keepends=True)
    (interrupted_run / "metrics.csv").write_text("".join(rows[:2]))
    (note,) = case_of_run(interrupted_run).notes
    assert note.startswith("stopped after epoch 1 of 2,")
    assert note.endswith(f"resume with `pellucid train --resume {interrupted_run}`")


@pytest.mark.usefixtures("no_report")
def test_data_outside_the_run_folder_are_read_only_if_the_run_was_trained_on_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"data.name": "pictures", "data.size": 8, "data.mode": "L", "train.epochs": 1, "network.sizes": [64, 2]}
    run = train("digits", out=tmp_path / "runs", progress=False, **settings).path
    assert case_of_run(run).train.checksum == case_of_run(run, "pictures").train.checksum
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (run / "manifest.json").write_text(json.dumps({**manifest, "data": {}}), encoding="utf-8")
    _has_checksums_of_run.cache_clear()
    with pytest.raises(PellucidError, match=r"is not what .* was trained on: .* add --data pictures"):
        case_of_run(run)
    assert case_of_run(run, "pictures").validation.checksum == case_of_run(run, str(pictures)).validation.checksum
    assert len(case_of_run(run, str(pictures)).train) == len(load(str(pictures), size=(8, 8), mode="L").train)


def test_a_finished_run_without_weights_is_reported(run: Path, tmp_path: Path) -> None:
    run_without_weights = Path(shutil.copytree(run, tmp_path / "lost"))
    shutil.rmtree(run_without_weights / "weights")
    (note,) = case_of_run(run_without_weights).notes
    assert note.startswith("the run ended, but its weights are missing")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.csv", "a,b\n1,2\n", "no column 'epoch' among a, b"),
        ("metrics.csv", "epoch,lr\n1,0.5\n", "no column 'train_loss' among epoch, lr"),
        ("metrics.csv", "epoch,train_loss\n1,0.5\n2,low\n", "train_loss is 'low' in line 3"),
        ("metrics.csv", "epoch,train_loss\n,0.5\n", "epoch is None in line 2"),
        (
            "metrics.csv",
            "epoch,step,train_loss\n1,18446744073709551616,0.5\n",
            "step is 1.8446744073709552e+19 in",
        ),
        ("layers.csv", "epoch,path\n1,dense\n", "no column 'update_ratio' among epoch, path"),
    ],
)
def test_an_invalid_history_is_refused_with_its_file_and_column(
    run: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    damaged_run = Path(shutil.copytree(run, tmp_path / "odd"))
    (damaged_run / name).write_text(text)
    with pytest.raises(PellucidError) as error:
        case_of_run(damaged_run)
    assert f"{damaged_run / name}: {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_diverged_run_has_the_error_that_stopped_it(tmp_path: Path) -> None:
    settings = {**SHORT_SETTINGS, "optimizer.name": "sgd", "optimizer.lr": 1e20}
    with pytest.raises(PellucidError, match="training stopped in step") as error:
        train("digits", out=tmp_path, progress=False, **settings)
    run = tmp_path / "digits-1"
    case = case_of_run(run)
    assert str(case.stopped) == str(error.value)
    assert isinstance(case.stopped, StoppedError)
    assert isinstance(error.value, StoppedError)
    assert (case.stopped.step, case.stopped.fault) == (error.value.step, error.value.fault)
    assert str(case.stopped.fault) in str(case.stopped)
    error_values = json.loads((run / "error.json").read_text())
    for damaged_text in ("{", json.dumps({**error_values, "fault": "dense: weight contains NaN"}), "[]"):
        (run / "error.json").write_text(damaged_text)
        with pytest.raises(PellucidError, match=r"error\.json"):
            case_of_run(run)
    assert case.history is None
    assert not case.trained


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_resumed_run_is_not_reported_as_stopped(tmp_path: Path) -> None:
    with pytest.raises(PellucidError):
        train(
            "digits", out=tmp_path, progress=False, **SHORT_SETTINGS, **{"optimizer.name": "sgd", "optimizer.lr": 1e20}
        )
    run = tmp_path / "digits-1"
    assert case_of_run(run).stopped
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("lr = 1e+20", "lr = 0.1"))
    resume(run, progress=False)
    assert case_of_run(run).stopped == ""
    assert not (run / "error.json").exists()


def test_a_case_of_a_run_can_have_other_data(run: Path, pictures: Path) -> None:
    case = case_of_run(run, str(pictures))
    assert case.validation is not None
    assert (len(case.train), len(case.validation)) == (8, 2)
    assert set(case.train.y.tolist()) == {3, 8}
    with pytest.raises(PellucidError, match="did you mean 'digits'"):
        case_of_run(run, "digts")


def test_annotated_objects_are_refused_for_a_classifier(run: Path, tmp_path: Path) -> None:
    path = write_voc(tmp_path / "objects", lambda *box: box)
    with pytest.raises(PellucidError) as error:
        case_of_run(run, str(path))
    assert "has annotated objects, but the model outputs 10 values for an image; give images in" in str(error.value)
    assert "pellucid train" not in str(error.value)


@pytest.mark.usefixtures("no_report")
def test_a_folder_whose_classes_changed_after_training_is_refused_with_both_lists(
    pictures: Path, tmp_path: Path
) -> None:
    settings = {"data.name": str(pictures), "data.size": 8, "data.mode": "L", "train.epochs": 1}
    run = train("digits", out=tmp_path / "runs", progress=False, **settings, **{"network.sizes": [64, 2]}).path
    shutil.copytree(pictures / "8", pictures / "9")
    with pytest.raises(PellucidError) as error:
        case_of_run(run, str(pictures))
    assert str(error.value) == (
        f"{pictures} has the classes 3, 8, 9, but the model has 3, 8; give data with the classes of the model, in its "
        "order, or train a new model on these data"
    )


def test_a_folder_that_is_not_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"no recipe\.toml"):
        case_of_run(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes().replace(b"64, 64, 10", b"64, 32, 10"))
    (tmp_path / "weights/best.safetensors").write_bytes((run / "weights/best.safetensors").read_bytes())
    with pytest.raises(PellucidError, match="does not match the network of"):
        case_of_run(tmp_path)


def test_a_case_of_a_model_has_its_data_and_no_training(run: Path) -> None:
    case = case_of_model(Model.load(run / "weights/best.safetensors"))
    digits = load("digits")
    assert case.validation is not None
    assert (len(case.train), len(case.validation)) == (len(digits.train), len(digits.test))
    assert (case.trainable, case.epochs, case.history) == (False, 0, None)


def test_splits_of_a_folder_have_the_class_indices_of_the_model(run: Path, pictures: Path) -> None:
    parts = splits_for(Model.load(run / "weights/best.safetensors"), str(pictures))
    assert parts.train.x.shape[1:] == (1, 8, 8)
    assert set(parts.train.y.tolist()) == {3, 8}


def test_splits_for_a_model_without_data_name_need_the_option_data(run: Path) -> None:
    model = Model(case_of_run(run).model.net, input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match="--data"):
        splits_for(model)
    assert len(splits_for(model, "digits").train) == 1438
