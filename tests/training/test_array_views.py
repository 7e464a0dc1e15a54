"""Arrays that no tensor can share, such as reversed views, give the results of contiguous copies everywhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid import Conv2d, Dense, Flatten, Model, ReLU, Sequential, estimators, metrics
from pellucid.data import Dataset

RNG = np.random.default_rng(0)
N = 12
IMAGES = RNG.random((N, 3, 6, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, N)
VALUES = RNG.random((N, 3)).astype(np.float32)
# Each view has the same shape as its array, and other values.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "examples reversed": lambda x: x[::-1],
    "BGR to RGB": lambda x: x[:, ::-1],
    "mirrored": lambda x: x[..., ::-1],
    "turned": lambda x: x[..., ::-1, ::-1],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "float64": lambda x: x.astype(np.float64),
    "Fortran order": np.asfortranarray,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "Python objects": lambda x: x.astype(object),
}
TARGET_VIEWS = {name: VIEWS[name] for name in ("examples reversed", "big-endian", "read-only", "Python objects")}


def model(loss: str = "softmax_cross_entropy") -> Model:
    net = Sequential(Conv2d(2, 3), ReLU(), Flatten(), Dense(3))
    classes = 3 if loss == "softmax_cross_entropy" else None
    return Model(net, loss, input_shape=(3, 6, 6), classes=classes)


def trained(*data: Any, **options: Any) -> str:
    network = model()
    network.fit(*data, epochs=1, batch_size=4, verbose=False, **options)
    return network.sha256()


def trained_on_values(y: Any) -> str:
    network = model("quadratic")
    network.fit(IMAGES, y, epochs=1, verbose=False)
    return network.sha256()


FITTED = model()
FUNCTIONS_OF_IMAGES: dict[str, Callable[[Any], Any]] = {
    "fit": lambda x: trained(x, LABELS),
    "validation": lambda x: trained(IMAGES, LABELS, validation=(x, LABELS)),
    "stream": lambda x: trained(lambda: iter([(x, LABELS)]), steps_per_epoch=1),
    "find_lr": lambda x: model().find_lr(x, LABELS, steps=20).losses,
    "predict": lambda x: FITTED.predict(x).tolist(),
    "call": lambda x: FITTED(x).tolist(),
    "predictor": lambda x: FITTED.predictor()(x).tolist(),
    "evaluate": lambda x: FITTED.evaluate(x, LABELS),
    "trace": lambda x: FITTED.trace(x, LABELS).loss,
    "explain": lambda x: FITTED.explain(x).tolist(),
    "baseline": lambda x: FITTED.explain(IMAGES, "integrated_gradients", baseline=x, steps=2).tolist(),
    "fill": lambda x: FITTED.explain(IMAGES, "occlusion", square=3, stride=3, fill=x).tolist(),
    "ledger": lambda x: FITTED.ledger(x).map.tolist(),
    "verify": lambda x: FITTED.verify(x[:2], LABELS[:2]).ok,
    "data set": lambda x: Dataset.from_arrays(x, LABELS).x.tolist(),
}
FUNCTIONS_OF_LABELS: dict[str, Callable[[Any], Any]] = {
    "fit": lambda y: trained(IMAGES, y),
    "stream": lambda y: trained(lambda: iter([(IMAGES, y)]), steps_per_epoch=1),
    "list in a stream": lambda y: trained(lambda: iter([(IMAGES, list(y))]), steps_per_epoch=1),
    "evaluate": lambda y: FITTED.evaluate(IMAGES, y),
    "trace": lambda y: FITTED.trace(IMAGES, y).loss,
    "explain": lambda y: FITTED.explain(IMAGES, target=y).tolist(),
    "verify": lambda y: FITTED.verify(IMAGES, y).ok,
    "data set": lambda y: Dataset.from_arrays(IMAGES, y).y.tolist(),
    "doctor": lambda y: [one.name for one in FITTED.doctor(IMAGES, y).findings],
    "subset": lambda y: Dataset.from_arrays(IMAGES, LABELS).subset(y).y.tolist(),
}


@pytest.mark.parametrize("function", FUNCTIONS_OF_IMAGES)
def test_images_in_every_layout_of_memory(function: str) -> None:
    result_for = FUNCTIONS_OF_IMAGES[function]
    for view in VIEWS.values():
        x = view(IMAGES)
        assert result_for(x) == result_for(np.ascontiguousarray(x.astype(np.float32)))


def test_images_of_half_precision() -> None:
    x = IMAGES.astype(np.float16)[:, ::-1]
    assert torch.equal(FITTED.predict(x), FITTED.predict(np.ascontiguousarray(x.astype(np.float32))))


@pytest.mark.parametrize("function", ["fit", "predict", "evaluate", "explain", "data set", "stream"])
@pytest.mark.parametrize("view", ["examples reversed", "BGR to RGB", "turned", "Fortran order", "read-only"])
def test_images_of_bytes(function: str, view: str) -> None:
    x = VIEWS[view]((IMAGES * 255).astype(np.uint8))
    result_for = FUNCTIONS_OF_IMAGES[function]
    assert result_for(x) == result_for(np.array(x, order="C"))


@pytest.mark.parametrize("function", FUNCTIONS_OF_LABELS)
@pytest.mark.parametrize("view", TARGET_VIEWS)
def test_labels_in_every_layout_of_memory(function: str, view: str) -> None:
    y = TARGET_VIEWS[view](LABELS)
    result_for = FUNCTIONS_OF_LABELS[function]
    assert result_for(y) == result_for(np.array(y, np.int64))


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u4", "u8", "i1", ">i2", "i4"])
def test_labels_of_every_integer_type(dtype: str) -> None:
    y = LABELS.astype(dtype)
    assert trained(IMAGES, y) == trained(IMAGES, LABELS)
    assert FITTED.evaluate(IMAGES, y) == FITTED.evaluate(IMAGES, LABELS)
    assert FITTED.trace(IMAGES, y).loss == FITTED.trace(IMAGES, LABELS).loss
    findings = [[one.name for one in FITTED.doctor(IMAGES, labels).findings] for labels in (y, LABELS)]
    assert findings[0] == findings[1]


@pytest.mark.parametrize("view", VIEWS)
def test_values_in_every_layout_of_memory(view: str) -> None:
    y = VIEWS[view](VALUES)
    assert trained_on_values(y) == trained_on_values(np.ascontiguousarray(y.astype(np.float32)))


@pytest.mark.parametrize("name", ["Ridge", "LogisticRegression", "KNeighborsClassifier", "NetworkClassifier"])
def test_estimators_take_every_layout_of_memory(name: str) -> None:
    x = IMAGES.reshape(N, -1)[:, :8].astype(np.float64)
    options = {"random_state": 0} if name == "NetworkClassifier" else {}
    for view in VIEWS.values():
        expected = getattr(estimators, name)(**options).fit(np.array(view(x), np.float64, order="C"), LABELS)
        actual = getattr(estimators, name)(**options).fit(view(x), LABELS)
        np.testing.assert_allclose(actual.predict(view(x)), expected.predict(np.array(view(x), order="C")), rtol=1e-9)


def test_gradients_of_an_opened_network_take_arrays() -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 3).double()
    opened = pellucid.open(network, torch.zeros(2, 4, dtype=torch.float64))
    x = RNG.random((2, 4))[:, ::-1]
    dy = RNG.random((2, 3))[::-1]
    np.testing.assert_allclose(opened.gradients(x, dy)["input"], dy @ network.weight.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("view", TARGET_VIEWS)
def test_metrics_take_every_layout_of_memory(view: str) -> None:
    y = TARGET_VIEWS[view](LABELS)
    scores = VALUES[:, ::-1]
    predicted = scores.argmax(1)
    classes = [int(label) for label in y]
    assert metrics.accuracy(y, predicted) == np.mean(np.array(classes) == predicted)
    assert metrics.top_k(y, scores, 3) == 1.0
    counts = np.zeros((3, 3))
    np.add.at(counts, (classes, predicted), 1)
    assert metrics.confusion_matrix(y, predicted, 3).tolist() == counts.tolist()
    assert metrics.reliability(y, scores / scores.sum(1, keepdims=True)).count.sum() == N
