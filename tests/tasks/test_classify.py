"""Predictions and evaluations of a trained network, and the pictures and data sets that are refused."""

import io
import sys
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.cli.main import main
from pellucid.combine import Fork, Sequential
from pellucid.data import Dataset, Splits
from pellucid.fuse.inference.runs import AsWritten
from pellucid.layers import Dense, Flatten
from pellucid.losses import AuxiliaryCrossEntropy, Loss, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import convnet, mlp
from pellucid.recipe.job import train
from pellucid.run.weights import read_weights, write_weights
from pellucid.tasks import pictures
from pellucid.tasks.classify.confidence import fit_confidence
from pellucid.tasks.classify.predictor import evaluate, predict
from pellucid.tasks.pictures import calibrated_probabilities, class_names


def draw_seven(path: Path, ink: int, background: int | None) -> Path:
    """Draw a 7 in the grey `ink` on a grey background, or a transparent one for None; return the file."""
    pixels = np.full((90, 70, 4), 0 if background is None else background, np.uint8)
    pixels[..., 3] = 0 if background is None else 255
    pixels[10:20, 10:60] = (ink, ink, ink, 255)
    for row in range(65):
        pixels[15 + row, 48 - row // 2 : 58 - row // 2] = (ink, ink, ink, 255)
    Image.fromarray(pixels).save(path)
    return path


@dataclass(frozen=True)
class Logistic(Loss):
    """The logistic loss ln(1 + exp(y)) - t y, without a method `predict`."""

    def compute(self, y: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = target.reshape(y.shape).to(y.dtype)
        return (torch.nn.functional.softplus(y) - t * y).mean(), (y.sigmoid() - t) / len(y)


@pytest.fixture
def model() -> Model:
    return Model(mlp((64, 10)), input_shape=(1, 8, 8), classes=10, preprocess={"data": "digits"})


@pytest.mark.parametrize(("ink", "background"), [(255, 0), (0, None), (255, None), (250, None)])
def test_ink_is_recognized_on_light_and_dark_backgrounds(
    model: Model, tmp_path: Path, ink: int, background: int | None
):
    expected = predict(model, draw_seven(tmp_path / "usual.png", 0, 255)).outputs
    assert predict(model, draw_seven(tmp_path / "other.png", ink, background)).outputs == pytest.approx(
        expected, abs=1e-6
    )


def image_folder(root: Path) -> Path:
    """Write two parts of three classes with four pictures each; return the folder."""
    for part in ("train", "test"):
        for shade, name in enumerate(("ant", "bee", "cow")):
            (root / part / name).mkdir(parents=True)
            for k in range(4):
                buffer = io.BytesIO()
                Image.new("RGB", (8, 8), (90 * shade, 10 * k, 0)).save(buffer, "PNG")
                (root / part / name / f"{k}.png").write_bytes(buffer.getvalue())
    return root


@pytest.mark.usefixtures("no_report")
def test_a_folder_with_other_classes_than_the_network_has_outputs_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = {"data.name": str(image_folder(tmp_path / "mine")), "network.model": "convnet", "train.epochs": 1}
    with pytest.raises(PellucidError, match=r"3 classes \(ant, bee, cow\); set network\.classes=3"):
        train("digits", out=tmp_path / "runs", progress=False, **settings)
    assert not (tmp_path / "runs").exists()
    settings |= {"network.classes": 3, "network.width": 4}
    run = train("digits", out=tmp_path / "runs", progress=False, **settings)
    assert "needs 20 training and 20 held-out images, not 12 and 6; add images" in capsys.readouterr().err
    assert list(predict(run.model, tmp_path / "mine/test/bee/1.png").outputs) == ["ant", "bee", "cow"]


def test_a_weights_file_whose_outputs_and_classes_disagree_is_reported(tmp_path: Path, model: Model):
    model.save(tmp_path / "good.safetensors")
    tensors, about = read_weights(tmp_path / "good.safetensors")
    write_weights(tmp_path / "bad.safetensors", tensors, {**about, "classes": ["ant", "bee", "cow"]})
    with pytest.raises(PellucidError, match=r"bad\.safetensors: .* outputs 10 values, .* 3 classes \(ant, bee, cow\)"):
        Model.load(tmp_path / "bad.safetensors")


def test_models_that_are_not_classifiers_are_refused(tmp_path: Path):
    two_output_model = Model(Sequential(Flatten(), Fork(a=Dense(2), b=Dense(3))), input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match="no classes; give a classifier"):
        predict(two_output_model, draw_seven(tmp_path / "7.png", 0, 255))


def test_one_output_separates_two_classes(tmp_path: Path):
    model = Model(mlp((64, 1), output="sigmoid"), "quadratic", classes=["no", "yes"], input_shape=(1, 8, 8))
    result = predict(model, draw_seven(tmp_path / "7.png", 0, 255)).outputs
    assert list(result) == ["no", "yes"]
    assert sum(result.values()) == pytest.approx(1)


@pytest.mark.parametrize("bias", [(8.0, -2.0, 3.0), (0.5, 0.25, 0.75)])
def test_scores_are_not_called_probabilities(tmp_path: Path, bias: tuple[float, ...]):
    model = Model(Sequential(Flatten(), Dense(3)), "hinge", classes=["a", "b", "c"], input_shape=(1, 8, 8))
    for path, weight in model.weights.items():
        weight.copy_(torch.tensor(bias) if path.endswith("bias") else torch.zeros(()))
    predictions = predict(model, draw_seven(tmp_path / "7.png", 0, 255))
    assert not predictions.are_probabilities
    assert predictions.outputs == dict(zip("abc", bias, strict=True))
    with pytest.raises(PellucidError, match=r"scores, no probabilities; .*give Hinge a method predict"):
        calibrated_probabilities(model, model.predict(torch.zeros(1, 1, 8, 8)))


@pytest.mark.parametrize(("bias", "label"), [(0.25, "yes"), (-0.25, "no")])
def test_one_output_of_a_user_defined_loss_is_thresholded_at_zero(tmp_path: Path, bias: float, label: str):
    model = Model(Sequential(Flatten(), Dense(1)), Logistic(), classes=["no", "yes"], input_shape=(1, 8, 8))
    for path, weight in model.weights.items():
        weight.fill_(bias if path.endswith("bias") else 0)
    predictions = predict(model, draw_seven(tmp_path / "7.png", 0, 255))
    assert (predictions.label, predictions.output, predictions.are_probabilities) == (label, 0.25, False)


def patch_load_splits(monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...]) -> Dataset:
    """Replace every data set by ten random 8 x 8 images, labelled with the classes in turn; return it."""
    x = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_arrays(x, torch.arange(10) % len(classes), classes, "offered")
    monkeypatch.setattr(pictures, "load_splits", lambda *_: Splits(data, data))
    return data


def test_data_of_other_classes_are_refused(model: Model, monkeypatch: pytest.MonkeyPatch):
    patch_load_splits(
        monkeypatch, ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    )
    with pytest.raises(PellucidError, match=r"offered has the class 'airplane', which the model lacks; it has 0, 1, "):
        evaluate(model, "cifar10")
    with pytest.raises(PellucidError, match="which the model lacks"):
        evaluate(model)  # its training data, which now have other classes


def test_classes_in_another_order_are_mapped_to_the_models_indices(model: Model, monkeypatch: pytest.MonkeyPatch):
    data = patch_load_splits(monkeypatch, tuple("9876543210"))
    predicted = model.predict(data).argmax(1)
    assert evaluate(model, "mnist")["accuracy"] == (predicted == 9 - data.y).double().mean().item()


def test_evaluation_reports_whether_the_confidence_was_fitted_on_these_images(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    data = patch_load_splits(monkeypatch, tuple("0123456789"))
    assert evaluate(model, "mnist")["confidence"] is None
    model.confidence = fit_confidence(model.predict(data), data.y)
    assert evaluate(model, "mnist")["confidence"]["fitted_here"] is True
    model.confidence = Confidence(1.1 * model.confidence.temperature, model.confidence.threshold)
    assert evaluate(model, "mnist")["confidence"]["fitted_here"] is False


def test_pictures_get_calibrated_probabilities(model: Model, tmp_path: Path):
    picture = draw_seven(tmp_path / "7.png", 0, 255)
    uncalibrated = predict(model, picture).outputs
    model.confidence = Confidence(2.0, 0.5)
    roots = np.sqrt([*uncalibrated.values()])
    assert [*predict(model, picture).outputs.values()] == pytest.approx((roots / roots.sum()).tolist(), rel=1e-5)


def test_a_network_of_any_data_classifies_pictures_of_any_size(tmp_path: Path):
    colour_model = Model(convnet(3, width=4), input_shape=(3, 16, 16), classes=["a", "b", "c"])
    white = predict(colour_model, draw_seven(tmp_path / "white.png", 255, None))
    on_black = predict(colour_model, draw_seven(tmp_path / "black.png", 255, 0))
    assert white.outputs == pytest.approx(on_black.outputs, abs=1e-6)


def test_a_network_with_auxiliary_outputs_classifies_by_its_main_output() -> None:
    scores = Sequential(flatten=Flatten(), dense=Dense(3))
    model = Model(
        Fork(main=scores, side=scores), AuxiliaryCrossEntropy(), input_shape=(1, 4, 4), classes=("a", "b", "c")
    )
    assert model.output_shape == ((3,), (3,))
    assert class_names(model) == ("a", "b", "c")
    assert model.predict(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def test_weights_that_overflow_are_reported_with_their_file(tmp_path: Path, model: Model):
    for weight in model.weights.values():
        weight.fill_(1e38)
    model.save(tmp_path / "huge.safetensors")
    with pytest.raises(PellucidError, match=r"huge\.safetensors: .*; look at the images, the preprocessing and the w"):
        predict(Model.load(tmp_path / "huge.safetensors"), draw_seven(tmp_path / "7.png", 0, 255))


def test_images_that_the_loss_ignores_are_not_measured(tmp_path: Path):
    for k, name in enumerate("abb"):
        (tmp_path / "mine" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 80 * k).save(tmp_path / f"mine/{name}/{k}.png")
    net = Sequential(flatten=Flatten(), scores=Dense(2))
    model = Model(net, SoftmaxCrossEntropy(ignore=0), input_shape=(1, 8, 8), classes=["a", "b"])
    model.weights["scores.weight"].zero_()
    model.weights["scores.bias"].copy_(torch.tensor([0.0, 1.0]))
    evaluation = evaluate(model, str(tmp_path / "mine"))
    assert (evaluation["n"], evaluation["accuracy"], [row["n"] for row in evaluation["classes"]]) == (2, 1.0, [0, 2])


def test_the_functions_of_predict_are_those_of_the_architecture_page(tmp_path: Path, monkeypatch) -> None:
    """The list on the page is the stack of calls, without nested functions, in which the network runs."""
    stack: list[tuple[str, str]] = []
    run = AsWritten.__call__

    def recorded(*args):
        stack[:] = [("fuse/inference/runs.py", "AsWritten.__call__")]
        frame = sys._getframe()
        while stack[0] != ("cli/predict.py", "handle") and (frame := frame.f_back):
            if "<locals>" not in frame.f_code.co_qualname:
                file = Path(frame.f_code.co_filename).as_posix().rpartition("pellucid/")[2]
                stack.insert(0, (file, frame.f_code.co_qualname))
        return run(*args)

    monkeypatch.setattr(AsWritten, "__call__", recorded)
    assert main(["predict", "mnist-mlp-100", str(draw_seven(tmp_path / "a.png", 255, 0))]) == 0
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.partition("## From `pellucid predict`")[2].partition("```text\n")[2].partition("\n```")[0].splitlines()
    assert [tuple(line.split()[:2]) for line in lines] == stack


def test_the_functions_of_other_tasks_are_those_of_the_architecture_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.partition("Other tasks, after")[2].partition("```text\n")[2].partition("\n```")[0].splitlines()
    files = (Path(__file__).parents[2] / "pellucid/tasks").glob("*/predictor.py")
    text = {path.parent.name: path.read_text(encoding="utf-8") for path in files}
    others = {name for name in text if "(ClassPredictor)" not in text[name]} - {"classify"}
    assert {line.split("/")[1] for line in lines} == others
    for file, name in (line.split()[:2] for line in lines):
        function = attrgetter(name)(import_module(f"pellucid.{file.removesuffix('.py').replace('/', '.')}"))
        assert function.__qualname__ == name
