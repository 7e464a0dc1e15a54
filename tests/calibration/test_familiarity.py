"""Familiarity: the distance compared with NumPy's, the threshold by counting, saving and loading."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.calibration.familiarity import (
    MAX_AXES,
    familiarity_scores,
    fit_familiarity,
    with_lower_resolutions,
)
from pellucid.combine import Sequential
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU, Sigmoid
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.run.weights import read_weights, write_weights


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (n, 1, 4, 4) of three classes, each with its own bright row, and the labels (n,)."""
    y = torch.arange(n) % 3
    x = 0.1 * torch.rand((n, 1, 4, 4), generator=rng(seed))
    x[torch.arange(n), 0, y] += 0.6
    return x, y


def conv_model() -> Model:
    net = Sequential(
        conv=Conv2d(5, 3, padding=1), relu=ReLU(), pool=AdaptiveAvgPool2d(1), flatten=Flatten(), scores=Dense(3)
    )
    return Model(net, input_shape=(1, 4, 4), classes=3)


def with_familiarity(model: Model, n: int = 400) -> Model:
    x, y = blobs(n, 1)
    model.familiarity = fit_familiarity(model.net, model.params, (x, y), blobs(n, 2)[0], model.stats)
    return model


def test_the_distance_is_numpys_mahalanobis_distance() -> None:
    """With at most MAX_AXES features, each direction has its own variance: the distance uses the full covariance."""
    model = with_familiarity(Model(mlp((16, 3)), input_shape=(1, 4, 4), classes=3))
    assert model.familiarity is not None
    assert [depth.path for depth in model.familiarity.depths] == ["head.scores"]
    depth = model.familiarity.depths[0]
    assert depth.axes.shape == (15, 16)
    assert MAX_AXES == 16
    x, y = (part.numpy() for part in blobs(400, 1))
    x = x.reshape(len(x), -1).astype(np.float64)
    x /= x.std(0)
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    inverse = np.linalg.inv((x - means[y]).T @ (x - means[y]) / len(x))
    new_x = torch.rand((20, 1, 4, 4), generator=rng(3))
    z = new_x.numpy().reshape(20, -1).astype(np.float64) / blobs(400, 1)[0].numpy().reshape(400, -1).std(0)
    gaps = z[:, None] - means
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", gaps, inverse, gaps).min(1))
    actual = model.distance(new_x)
    assert actual is not None
    np.testing.assert_allclose(actual.numpy() * depth.unit, expected, rtol=1e-4)


def test_many_features_are_reduced_to_the_principal_axes() -> None:
    model = Model(mlp((64, 3)), input_shape=(1, 8, 8), classes=3)
    x, y = torch.rand((200, 1, 8, 8), generator=rng(0)), torch.arange(200) % 3
    familiarity = fit_familiarity(model.net, model.params, (x, y), torch.rand((99, 1, 8, 8), generator=rng(1)))
    assert familiarity is not None
    depth = familiarity.depths[0]
    assert depth.axes.shape == (MAX_AXES, 64)
    torch.testing.assert_close(depth.axes @ depth.axes.T, torch.eye(MAX_AXES), atol=1e-5, rtol=0)
    scaled = x.flatten(1).double() / x.flatten(1).double().std(0, correction=0)
    centred = scaled - torch.stack([scaled[y == k].mean(0) for k in range(3)])[y]
    values = np.linalg.eigvalsh((centred.T @ centred / 200).numpy())
    np.testing.assert_allclose(depth.variances[:-1].numpy(), values[-MAX_AXES:], rtol=1e-4)
    assert float(depth.variances[-1]) == pytest.approx(values[:-MAX_AXES].mean(), rel=1e-4)


def test_feature_maps_are_summarized_by_mean_and_deviation() -> None:
    model = with_familiarity(conv_model())
    assert model.familiarity is not None
    assert [depth.path for depth in model.familiarity.depths] == ["conv", "scores"]
    assert [depth.means.shape for depth in model.familiarity.depths] == [(3, 10), (3, 5)]


@pytest.mark.parametrize("n", [20, 400])
def test_at_most_one_percent_or_one_held_out_image_is_above_the_threshold(n: int) -> None:
    model = conv_model()
    x, y = blobs(400, 1)
    held_out = blobs(n, 2)[0]
    familiarity = fit_familiarity(model.net, model.params, (x, y), held_out)
    assert familiarity is not None
    n_above = int((familiarity.distance(model.net, model.params, held_out) > familiarity.threshold).sum())
    assert n_above == {20: 0, 400: 3}[n], "the fourth of 401 is the threshold, the largest of 21"
    assert (familiarity.alarms, familiarity.held_out) == (n_above / n, n)


def test_held_out_images_are_familiar_and_noise_is_not() -> None:
    model = with_familiarity(conv_model())
    assert model.familiarity is not None
    familiar, noise = model.distance(blobs(600, 5)[0]), model.distance(torch.rand((50, 1, 4, 4), generator=rng(6)))
    assert familiar is not None
    assert noise is not None
    assert float((familiar > model.familiarity.threshold).double().mean()) < 0.04
    assert float((noise > model.familiarity.threshold).double().mean()) > 0.9


def test_features_that_overflow_are_infinitely_far() -> None:
    """The variance of a map overflows float32, although the bounded outputs stay finite."""
    net = Sequential(conv=Conv2d(3, 3), act=Sigmoid(), flatten=Flatten(), scores=Dense(3))
    model = with_familiarity(Model(net, input_shape=(1, 4, 4), classes=3))
    x = torch.full((3, 1, 4, 4), 1e38)
    assert model.distance(x).tolist() == [math.inf] * 3
    assert torch.isfinite(model.predict(x[:1])).all()
    assert [score.unfamiliar for score in familiarity_scores(model, x)] == [True] * 3


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 40), (2, 1, 1)])
@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_every_second_image_is_less_sharp(shape: tuple[int, int, int], n: int) -> None:
    """The others are unchanged; values stay in their range; the differences of neighbouring pixels become smaller."""
    x = torch.randint(0, 256, (n, *shape), generator=rng(0)).to(torch.uint8)
    result = with_lower_resolutions(x)
    original = x.float() / 255
    assert torch.equal(result[::2], original[::2])
    assert float(result.min()) >= float(original.min())
    assert float(result.max()) <= float(original.max())
    if n > 1 and shape[-1] > 1:
        assert float(result[1::2].diff(dim=-1).abs().mean()) < 0.8 * float(original[1::2].diff(dim=-1).abs().mean())
    vectors = torch.rand((4, 5))
    assert with_lower_resolutions(vectors) is vectors


def test_no_familiarity_is_fitted_without_enough_data_or_classes() -> None:
    model, (x, y) = conv_model(), blobs(60, 1)
    assert fit_familiarity(model.net, model.params, (x, y), x[:19]) is None
    assert fit_familiarity(model.net, model.params, (x, y.float()), x) is None
    assert model.distance(x) is None


def test_a_familiarity_is_saved_with_the_weights_and_dropped_when_they_change(tmp_path) -> None:
    model, path = with_familiarity(conv_model()), tmp_path / "model.safetensors"
    x, y = blobs(30, 7)
    before = model.distance(x)
    model.save(path)
    loaded = Model.load(path)
    after = loaded.distance(x)
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)
    assert loaded.sha256() == model.sha256()
    loaded.fit(x, y, epochs=1, batch_size=10, verbose=False)
    assert loaded.distance(x) is None, "it was of other weights"


def widen(tensors: dict[str, Tensor], depth: int) -> None:
    """Double the number of features of one depth in all of its tensors, so their shapes still agree."""
    for name in ("scale", "means", "axes"):
        key = f"[familiarity].{depth}.{name}"
        tensors[key] = torch.cat([tensors[key]] * 2, -1)


INVALID_CHANGES = {
    "must contain depths": lambda t, a: a.update(familiarity=3),
    "path and unit": lambda t, a: a["familiarity"]["depths"].__setitem__(0, {"path": "conv"}),
    "a unit must be a number above 0, not 0": lambda t, a: a["familiarity"]["depths"][0].update(unit=0),
    "a unit must be a number above 0, not 1000": lambda t, a: a["familiarity"]["depths"][0].update(unit=10**400),
    "runs no Conv2d or Dense at relu": lambda t, a: a["familiarity"]["depths"][0].update(path="relu"),
    "depths must name at least one": lambda t, a: a["familiarity"].update(depths=[]),
    "threshold must be a number above 0, not -1": lambda t, a: a["familiarity"].update(threshold=-1.0),
    "alarms must be a number from 0 to 1, not True": lambda t, a: a["familiarity"].update(alarms=True),
    "alarms must be a number from 0 to 1, not -0.5": lambda t, a: a["familiarity"].update(alarms=-0.5),
    "held_out must be a whole number of at least 1, not 0.5": lambda t, a: a["familiarity"].update(held_out=0.5),
    "the tensors of conv are missing": lambda t, a: t.pop("[familiarity].0.means"),
    "the tensors of scores are missing": lambda t, a: t["[familiarity].1.scale"].zero_(),
    "fit each other and its 10 features": lambda t, a: widen(t, 0),
    "fit each other and its 5 features": lambda t, a: widen(t, 1),
    "the tensors of scores .* 5 features": lambda t, a: t.update({"[familiarity].1.axes": torch.tensor(1.0)}),
}


@pytest.mark.parametrize("message", INVALID_CHANGES)
def test_a_file_with_an_invalid_familiarity_is_refused(tmp_path, message: str) -> None:
    path = tmp_path / "model.safetensors"
    with_familiarity(conv_model()).save(path)
    tensors, about = read_weights(path)
    INVALID_CHANGES[message](tensors, about)
    write_weights(path, tensors, about)
    with pytest.raises(PellucidError, match=message):
        Model.load(path)


@pytest.mark.parametrize("key", ["unit", "threshold"])
def test_an_integer_beyond_64_bits_is_loaded_as_a_float(tmp_path, key: str) -> None:
    path = tmp_path / "model.safetensors"
    with_familiarity(conv_model()).save(path)
    tensors, about = read_weights(path)
    values = about["familiarity"]["depths"][0] if key == "unit" else about["familiarity"]
    values[key] = 10**30
    write_weights(path, tensors, about)
    distance = Model.load(path).distance(blobs(30, 7)[0])
    assert distance is not None
    assert bool(distance.isfinite().all())


WEIGHT_CHANGES = {
    "fit": lambda model: model.fit(*blobs(20, 5), epochs=1, verbose=False),
    "replace_head": lambda model: model.replace_head(["a", "b"]),
    "build": lambda model: model.build((1, 4, 4)),
}


@pytest.mark.parametrize("name", WEIGHT_CHANGES)
def test_a_familiarity_fitted_on_other_weights_is_dropped(name: str) -> None:
    model = with_familiarity(conv_model())
    model.confidence = Confidence(2.0, 0.5)
    assert model.familiarity is not None
    WEIGHT_CHANGES[name](model)
    assert (model.confidence, model.familiarity) == (None, None)


class OpaqueSequential(Sequential):
    """A combinator with its own forward and backward pass, in which the children's outputs are not observed."""

    def forward(self, params, x, mode):
        return super().forward(params, x, mode)

    def backward(self, params, cache, dy):
        return super().backward(params, cache, dy)


def test_a_file_that_names_a_layer_that_never_runs_is_refused(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    net = Sequential(flatten=Flatten(), inner=OpaqueSequential(hidden=Dense(16)), scores=Dense(3))
    model = Model(net, input_shape=(1, 4, 4), classes=3)
    model.custom = (OpaqueSequential,)
    with_familiarity(model).save(path)
    tensors, about = read_weights(path)
    assert [depth["path"] for depth in about["familiarity"]["depths"]] == ["scores"]
    about["familiarity"]["depths"][0]["path"] = "inner.hidden"
    write_weights(path, tensors, about)
    with pytest.raises(PellucidError, match=r"the network runs no Conv2d or Dense at inner\.hidden"):
        Model.load(path, custom=[OpaqueSequential])
