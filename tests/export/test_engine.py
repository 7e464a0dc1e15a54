"""Predictions by onnxruntime, and the choice of the faster engine."""

import time

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.export.parity import ParityError
from pellucid.layers import Conv2d, ReLU
from pellucid.model import Model
from pellucid.training import engines
from tests.training.small import digits, small_conv

ENGINES = ("pellucid", "onnxruntime", "auto")


@pytest.fixture(scope="module")
def model() -> Model:
    model = small_conv(input_shape=(1, 8, 8), classes=10)
    model.fit(digits(), epochs=1, batch_size=50, verbose=False)
    return model


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_predicts_as_the_model_does(model: Model, engine: str) -> None:
    predict = model.predictor(engine=engine)
    assert predict.engine == ""
    for count in (1, 3):
        x = digits().x[:count]
        torch.testing.assert_close(predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    assert engine in (predict.engine, "auto")


@pytest.mark.parametrize("name", ["camvid", "faces"])
def test_shipped_networks_are_computed_by_onnxruntime(name: str) -> None:
    model = Model.load(name)
    x = torch.rand(2, *model.nominal_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.predictor("onnxruntime")(x), model.predict(x), rtol=1e-4, atol=1e-4)


def test_images_of_each_size_are_predicted_by_onnxruntime() -> None:
    net = Sequential(conv=Conv2d(4, 3, padding=1), relu=ReLU(), scores=Conv2d(2, 1))
    model = Model(net, input_shape=(3, None, None), seed=0)
    predict = model.predictor("onnxruntime")
    for size in ((12, 16), (9, 9), (12, 16)):
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(predict(x), model.predict(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("slow", "faster"), [("pellucid", "onnxruntime"), ("onnxruntime", "pellucid")])
def test_auto_selects_the_faster_engine(model: Model, slow: str, faster: str) -> None:
    predict = model.predictor("auto")
    run = predict._run_functions[slow]

    def delayed(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return run(x)

    predict._run_functions[slow] = delayed
    predict(digits().x[:2])
    assert predict.engine == faster


def test_auto_without_onnxruntime_selects_pellucid(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    predict = model.predictor("auto")
    predict(digits().x[:2])
    assert predict.engine == "pellucid"


def test_unknown_engines_and_float64_in_onnxruntime_are_refused(model: Model) -> None:
    with pytest.raises(PellucidError, match="engine must be one of pellucid, onnxruntime, auto"):
        model.predictor("tensorrt")
    exact = small_conv(input_shape=(1, 8, 8), classes=10, precision="float64")
    with pytest.raises(PellucidError, match="onnxruntime computes in float32 on the CPU, and the model in float64"):
        exact.predictor("onnxruntime")
    assert exact.predictor("auto")(digits().x[:2].double()).dtype == torch.float64


def test_a_session_that_differs_from_the_network_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pellucid.export.onnx_file.run_file", lambda data, xs: [torch.zeros(3, 10)])
    with pytest.raises(ParityError, match="would differ from the network"):
        model.predictor("onnxruntime")
    predict = model.predictor("auto")
    for n_warnings in (1, 0):
        predict(digits().x[:2])
        stderr = capsys.readouterr().err
        assert stderr.count("predictor: without onnxruntime, since the ONNX file would differ") == n_warnings
    assert predict.engine == "pellucid"


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_and_lists_are_predicted_like_tensors(model: Model, engine: str) -> None:
    predict, x = model.predictor(engine=engine), digits().x[:3]
    for given in (x.numpy(), x.tolist()):
        assert torch.equal(predict(given), predict(x))
    for wrong in ("digits", None):
        with pytest.raises(PellucidError, match="x"):
            predict(wrong)
