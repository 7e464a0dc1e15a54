"""Invalid arguments of Model, fit, compile and save: one-line errors before anything is changed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Augment
from pellucid.layers import Dense
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import SGD, Adam
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Cosine
from pellucid.training.callbacks import EarlyStopping
from pellucid.training.progress import ProgressLine
from tests.training.small import digits, small_mlp

NAN, INF = float("nan"), float("inf")

METRICS_MESSAGE = "metrics must be names, Metric objects or functions (outputs, targets) -> number"
KNOWN_METRICS = (
    "accuracy, top5, precision, recall, macro_f1, confusion, ece, multilabel, mae, rmse, r2, miou, boundary_f1, ap, "
    "mask_ap, keypoint_ap, nme, psnr, ssim, colours, delta_e"
)


def error_message(call, *args, **options) -> str:
    with pytest.raises(PellucidError) as caught:
        call(*args, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1.5}, "fit: epochs must be a whole number of at least 1, not 1.5"),
        ({"epochs": "3"}, "fit: epochs must be a whole number of at least 1, not '3'"),
        ({"epochs": 0}, "not 0"),
        ({"epochs": True}, "not True"),
        ({"epochs": None}, "not None"),
        ({"epochs": np.zeros((3, 3))}, "fit: epochs must be a whole number"),
        ({"batch_size": 2.5}, "fit: batch_size must be a whole number of at least 1, not 2.5"),
        ({"batch_size": 0}, "not 0"),
        ({"callbacks": [EarlyStopping]}, "fit: callbacks[0] is the class EarlyStopping; give an object of it"),
        ({"callbacks": [ProgressLine(), lambda: 1]}, "fit: callbacks[1] must be of the class Callback, not <function"),
        ({"callbacks": ProgressLine()}, "fit: callbacks takes a list, [Callback(...), ...], not ProgressLine("),
        ({"callbacks": ProgressLine}, "fit: callbacks takes a list"),
        ({"callbacks": None}, "fit: callbacks takes a list, [Callback(...), ...], not None"),
        ({"callbacks": [EarlyStopping(3)]}, "EarlyStopping needs validation data; give fit validation=0.1"),
        ({"callbacks": [EarlyStopping(3, "val_loss")]}, "EarlyStopping needs validation data"),
        ({"augment": 3}, "fit: augment must be a function"),
        ({"augment": Augment}, "fit: augment must be a function"),
        ({"validation": (1, 2, 3)}, "fit: validation takes (x, y), a source or a fraction, not 3 values"),
        ({"validation": 1}, "fit: validation must be a fraction between 0 and 1, data, or"),
    ],
)
def test_invalid_arguments_of_fit_are_refused(options, message):
    model = small_mlp()
    assert message in error_message(model.fit, digits(), **{"epochs": 1, "batch_size": 10, "verbose": False, **options})
    assert not model.built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": Adam}, "optimizer is the class Adam; give an object of it, such as Adam(...)"),
        ({"optimizer": 0.1}, "optimizer must be of the class Optimizer, not 0.1"),
        ({"optimizer": SoftmaxCrossEntropy()}, "optimizer must be of the class Optimizer, not SoftmaxCrossEntropy("),
        ({"loss": SoftmaxCrossEntropy}, "loss is the class SoftmaxCrossEntropy"),
        ({"loss": None}, "loss must be of the class Loss, not None"),
        ({"schedule": Cosine}, "schedule is the class Cosine"),
        ({"regularizer": L2}, "regularizer is the class L2"),
        ({"regularizer": [L2(0.1), "l1"]}, "regularizer must be of the class Regularizer or MaxNorm, not 'l1'"),
        ({"metrics": 3}, f"{METRICS_MESSAGE}, not 3"),
        (
            {"metrics": [["accuracy"]]},
            f"{METRICS_MESSAGE}, not ['accuracy']",
        ),
        (
            {"metrics": "acuracy"},
            f"no metric 'acuracy'; known: {KNOWN_METRICS}; did you mean 'accuracy'?",
        ),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0, not 1.5"),
        ({"seed": 2**63}, "seed must be a whole number of at most"),
        ({"classes": 0}, "classes must be a whole number of at least 1, not 0"),
        ({"classes": "cat"}, "classes must be their number or a list of their names, not 'cat'"),
        ({"classes": [0, 1]}, "classes must be their number or a list of their names, not [0, 1]"),
    ],
)
def test_invalid_arguments_of_model_are_refused(options, message):
    assert message in error_message(Model, mlp((64, 10)), **options)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("f1", "did you mean 'macro_f1'?"),
        ("top3", "give TopK(3) of pellucid.metrics"),
        ("acc", "did you mean 'accuracy'"),
    ],
)
def test_metrics_are_found_by_the_names_of_other_libraries(metric, message):
    with pytest.raises(PellucidError, match=re.escape(message)):
        Model(Sequential(Dense(2)), metrics=[metric])


@pytest.mark.parametrize("clip", [0, -1, NAN, INF, "1", True, [1.0]])
def test_an_invalid_clip_is_refused(clip):
    message = error_message(Model, mlp((64, 10)), clip=clip)
    assert message.startswith("clip must be a number above 0, or None for no limit, not ")


def test_an_unknown_precision_is_refused():
    message = error_message(Model, mlp((64, 10)), precision="float16")
    assert message.startswith("precision must be float32 or bf16")
    assert "not 'float16'; did you mean 'float" in message


def test_fit_refuses_patience_and_a_string_as_verbose():
    model = Model(Sequential(Dense(2)))
    with pytest.raises(PellucidError, match=r"fit: no argument 'patience'; give fit\(callbacks=\[EarlyStopping"):
        model.fit(torch.rand(4, 3), [0, 1, 0, 1], epochs=1, patience=3)
    with pytest.raises(PellucidError, match="fit: verbose must be True or False, not 'no'"):
        model.fit(torch.rand(4, 3), [0, 1, 0, 1], epochs=1, verbose="no")


@pytest.mark.parametrize(
    ("name", "suggestion"), [("BatchNorm2d", "BatchNorm"), ("Linear", "Dense"), ("MaxPool", "MaxPool2d")]
)
def test_names_of_other_libraries_suggest_those_of_pellucid(name, suggestion):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'; did you mean '{suggestion}'"):
        getattr(pellucid, name)


def test_a_layer_class_instead_of_a_layer_is_refused():
    assert "the network is the class Dense; give an object of it" in error_message(Model, Dense)


def test_one_metric_without_a_list_and_numpy_integers_are_accepted():
    model = small_mlp(metrics="accuracy", seed=np.int64(3))
    assert (model.metrics, model.seed) == (("accuracy",), 3)
    history = model.fit(digits(), epochs=np.int64(2), batch_size=np.int32(100), verbose=False)
    assert len(history) == 2


def test_early_stopping_can_monitor_the_training_loss():
    stopping = EarlyStopping(1, "train_loss", min_delta=1e9)
    history = Model(mlp((64, 10)), optimizer=SGD(0.1)).fit(
        digits(), epochs=9, batch_size=100, callbacks=[stopping], verbose=False
    )
    assert len(history) == 2
    for patience in (0, 1.5, "3"):
        assert "EarlyStopping: patience must be a whole number of at least 1" in error_message(EarlyStopping, patience)


def test_save_refuses_a_folder_and_a_number_as_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    model = small_mlp(input_shape=(1, 8, 8))
    assert error_message(model.save, ".").startswith(". is a folder; give a file in it, such as model.safetensors")
    assert f"{tmp_path} is a folder; give a file in it, such as {tmp_path}/model.safetensors" in error_message(
        model.save, tmp_path
    )
    assert "must be a path, not 3" in error_message(model.save, 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_inputs_that_are_not_finite_are_refused_by_every_method(value):
    model, data = small_mlp(input_shape=(1, 8, 8)), digits(0, 20)
    x = data.x.clone()
    x[7, 0, 3, 3] = value
    message = f"x: example 7 contains {'NaN' if value != value else 'infinity'}; the data must be finite"  # noqa: PLR0124
    assert message in error_message(model.predict, x)
    assert message in error_message(model.predict, x.numpy().astype("float64"))
    assert message in error_message(model.evaluate, x, data.y)
    assert message in error_message(model.verify, x, data.y)
    before = model.sha256()
    assert message in error_message(model.fit, x, data.y, epochs=1, batch_size=10, verbose=False)
    options = {"epochs": 1, "batch_size": 10, "verbose": False, "validation": (x, data.y)}
    assert "validation: example 7 contains" in error_message(model.fit, data, **options)
    assert model.sha256() == before


def test_large_finite_inputs_with_an_infinite_sum_are_accepted():
    x = torch.full((4, 1, 8, 8), 3e38)
    assert small_mlp(input_shape=(1, 8, 8)).predict(torch.zeros_like(x)).shape == (4, 10)
    assert "contains infinity" in error_message(small_mlp(input_shape=(1, 8, 8)).predict, x * 10)
    from pellucid.training.examples import first_not_finite

    assert first_not_finite(x) is None


@pytest.mark.parametrize("size", [0, 2.5, "8"])
def test_batch_sizes_of_evaluation_must_be_whole_numbers(size):
    model = small_mlp(input_shape=(1, 8, 8))
    assert "predict: batch_size must be a whole number" in error_message(model.predict, digits(), batch_size=size)
    assert "evaluate: batch_size must be a whole number" in error_message(model.evaluate, digits(), batch_size=size)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.pt", r"give model\.save\('m\.safetensors'\); pellucid\.export\.to_torch\(model, 'm\.py'\)"),
        ("m.PTH", r"not m\.PTH: give model\.save\('m\.safetensors'\)"),
        ("m.onnx", r"give model\.save\('m\.safetensors'\); pellucid\.export\.to_onnx\(model, 'm\.onnx'\)"),
        ("m.h5", r"give model\.save\('m\.safetensors'\)$"),
        ("m.keras", r"give model\.save\('m\.safetensors'\)$"),
    ],
)
def test_save_refuses_the_names_of_other_formats(tmp_path: Path, name: str, message: str):
    with pytest.raises(PellucidError, match=message):
        Model(Dense(2), input_shape=(3,)).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("verify", r"verify: missing a required argument: 'x'; it takes x, y=None, samples=8"),
        ("explain", r"explain: missing a required argument: 'x'; it takes x, method='saliency', target=None, \*\*op"),
        ("trace", r"trace: missing a required argument: 'x'; it takes x, target=None, \*\*options"),
        ("ledger", r"ledger: missing a required argument: 'x'; it takes x, target=None, \*\*options"),
        ("doctor", r"doctor: missing a required argument: 'x'; it takes x, y=None, attempts=False"),
        ("predict", r"predict: missing a required argument: 'x'; it takes x, batch_size=None"),
        ("load_weights", r"load_weights: missing a required argument: 'source'; it takes source, part=None"),
    ],
)
def test_calls_without_arguments_are_answered_with_those_to_give(call, message):
    with pytest.raises(TypeError, match=message) as caught:
        getattr(Model(Dense(3), input_shape=(4,)), call)()
    assert isinstance(caught.value, PellucidError)
