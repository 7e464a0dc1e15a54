"""Fully convolutional networks accept images of any size; images of different sizes in a batch are padded."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Sequential, SoftmaxCrossEntropy
from pellucid.base.errors import PellucidError
from pellucid.data import Batch, collate
from pellucid.network.inputs import check_range

ANY_SIZE = (3, None, None)


def pixelwise_model(**options):
    """Return a model whose output at a pixel depends only on that pixel, so padding cannot change it."""
    net = Sequential(one=Conv2d(8, 1), relu=ReLU(), two=Conv2d(4, 1))
    return Model(net, SoftmaxCrossEntropy(ignore=9), metrics=(), input_shape=ANY_SIZE, **options)


def reference_scores(model, x):
    w = model.weights
    hidden = F.conv2d(x, w["one.weight"], w["one.bias"]).relu()
    return F.conv2d(hidden, w["two.weight"], w["two.bias"])


class CountedCopies(TorchDispatchMode):
    """Counts values that are read from tensors as Python numbers, each a copy from the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_range_of_images_is_read_without_a_copy_for_each_value(dtype):
    images = torch.rand(2, 1, 4, 4, dtype=dtype)
    with CountedCopies() as copies:
        check_range(images, "x")
        with pytest.raises(PellucidError, match=r"^x contains floats from 0 to 255, but the model takes images from 0"):
            check_range(torch.tensor([0, 255.0], dtype=dtype)[None, None, None], "x")
    assert copies.count == 0


def test_images_of_any_size_are_predicted_before_and_after_saving(tmp_path):
    model = pixelwise_model()
    assert (model.input_shape, model.output_shape) == (ANY_SIZE, (4, None, None))
    assert "3 x any x any -> 4 x any x any" in repr(model)
    assert "two" in str(model.summary())
    model.save(tmp_path / "w.safetensors")
    loaded = Model.load(tmp_path / "w.safetensors")
    assert (loaded.input_shape, loaded.output_shape) == (ANY_SIZE, (4, None, None))
    for size in ((5, 7), (16, 9), (1, 1)):
        x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        expected = reference_scores(model, x).softmax(1)
        torch.testing.assert_close(model.predict(x), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(loaded.predict(x), model.predict(x))


def test_either_height_or_width_may_be_free():
    model = Model(Sequential(c=Conv2d(2, 3)), input_shape=(3, None, 9), metrics=())
    assert (model.output_shape, model.predict(torch.rand(1, 3, 5, 9)).shape) == ((2, None, 7), (1, 2, 3, 7))
    with pytest.raises(PellucidError, match=r"the network takes \(3, None, 9\)"):
        model.predict(torch.rand(1, 3, 5, 8))
    with pytest.raises(PellucidError, match=r"without the batch axis; give x\[None\]"):
        model.predict(torch.rand(3, 5, 9))


class ImagesOfSeveralSizes:
    """A data set of images and masks of different sizes."""

    classes, checksum = None, "scenes"

    def __init__(self):
        rng = torch.Generator().manual_seed(1)
        sizes = [(6, 4), (5, 9), (7, 7), (3, 8), (6, 4)]
        self.pairs = [(torch.rand(3, *size, generator=rng), torch.randint(0, 4, size, generator=rng)) for size in sizes]

    def __len__(self):
        return len(self.pairs)

    def batch(self, indices, rng) -> Batch:
        return collate([self.pairs[k] for k in indices], ignored=9)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_padding_of_a_batch_does_not_change_an_evaluation(batch_size):
    model, source = pixelwise_model(), ImagesOfSeveralSizes()
    costs = [F.cross_entropy(reference_scores(model, x[None]), y[None], reduction="sum") for x, y in source.pairs]
    mean = float(sum(costs)) / sum(y.numel() for _, y in source.pairs)
    assert model.evaluate(source, batch_size=batch_size) == {"loss": pytest.approx(mean, rel=1e-5), "n": 5}


def test_training_and_prediction_on_images_of_different_sizes():
    model, source = pixelwise_model(), ImagesOfSeveralSizes()
    history = model.fit(source, validation=source, epochs=30, batch_size=2, verbose=False)
    assert history["val_loss"][-1] < history["val_loss"][0]
    predictions = model.predict(source, batch_size=1)
    assert [tuple(prediction.shape) for prediction in predictions] == [(4, *y.shape) for _, y in source.pairs]
    torch.testing.assert_close(predictions[1], reference_scores(model, source.pairs[1][0][None]).softmax(1)[0])


def test_global_pooling_makes_a_classifier_of_any_size():
    net = Sequential(c=Conv2d(4, 3), pool=AdaptiveAvgPool2d(1), flat=Flatten(), scores=Dense(5))
    model = Model(net, input_shape=ANY_SIZE)
    assert model.output_shape == (5,)
    assert model.predict(torch.rand(2, 3, 11, 8)).shape == (2, 5)


def test_a_network_with_weights_for_one_size_is_refused_naming_the_parameter():
    with pytest.raises(PellucidError, match=r"input_shape \(3, None, None\): scores.weight is .* for 256; give fixed"):
        Model(Sequential(flat=Flatten(), scores=Dense(5)), input_shape=ANY_SIZE)


def test_an_image_too_small_for_the_network_is_refused():
    model = Model(Sequential(c=Conv2d(2, 5), p=MaxPool2d(2)), SoftmaxCrossEntropy(), input_shape=ANY_SIZE, metrics=())
    with pytest.raises(PellucidError):
        model.evaluate(torch.rand(1, 3, 3, 3), torch.zeros(1, 1, 1, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(None, 8, 8), (None,), (3, None), (3, None, 0), (3, None, "8")])
def test_only_height_and_width_may_be_free(shape):
    with pytest.raises(PellucidError, match="input_shape must be whole numbers"):
        Model(Sequential(c=Conv2d(2, 1)), input_shape=shape)
