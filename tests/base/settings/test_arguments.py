"""Unknown arguments and names: errors suggest the nearest name, and signatures of classes are unchanged."""

import copy
import inspect
import pickle
from typing import get_type_hints

import pytest

from pellucid import layers
from pellucid.base.errors import ArgumentError, PellucidError, closest, nearest
from pellucid.base.settings.arguments import checked
from pellucid.data import Augment, load_folder, load_image
from pellucid.losses import LOSSES, SoftmaxCrossEntropy
from pellucid.metrics import ECE, METRICS, TopK
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES, SGD, Adam, MaxNorm
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Step
from pellucid.training.callbacks import EarlyStopping

CLASSES = [
    *layers.LAYERS, *LOSSES.values(), *OPTIMIZERS.values(), *SCHEDULES.values(), *REGULARIZERS.values(),
    *METRICS.values(), Augment, EarlyStopping, Model,
]  # fmt: skip


def error_of(call, *args, **options) -> str:
    with pytest.raises(PellucidError) as error:
        call(*args, **options)
    assert isinstance(error.value, TypeError)  # as raised by Python itself
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (layers.Conv2d, {"filters": 8, "kernal_size": 3}, "Conv2d: no argument 'kernal_size'; did you mean 'kernel'?"),
        (layers.Conv2d, {"out_channels": 8, "kernel": 3}, "did you mean 'filters'?"),
        (layers.Conv2d, {"in_channels": 3, "filters": 8, "kernel": 3}, "'in_channels'; leave it out"),
        (layers.Conv2d, {"filters": 8, "kernel": 3, "activation": "relu"}, "as a layer such as ReLU()"),
        (layers.Conv2d, {"filters": 8, "kernel": 3, "activaton": "relu"}, "as a layer such as ReLU()"),
        (layers.Conv2d, {"filters": 8}, "Conv2d: missing a required argument: 'kernel'; it takes filters, kernel, st"),
        (layers.Dense, {"out_features": 8}, "did you mean 'units'?"),
        (layers.Dropout, {"p": 0.5}, "did you mean 'rate'?"),
        (layers.MaxPool2d, {"pool_size": 2}, "did you mean 'kernel'?"),
        (layers.BatchNorm, {"num_features": 2}, "leave it out"),
        (layers.LeakyReLU, {"negative_slope": 0.1}, "did you mean 'slope'?"),
        (layers.ReLU, {"colour": 2}, "ReLU: no argument 'colour'; it takes no arguments"),
        (SoftmaxCrossEntropy, {"ignore_index": 2}, "did you mean 'ignore'?"),
        (Adam, {"learning_rate": 0.1}, "Adam: no argument 'learning_rate'; did you mean 'lr'?"),
        (Adam, {"weight_decay": 0.1}, "regularizer=L2(...)"),
        (SGD, {"momentum": 0.1}, "use the optimizer Momentum"),
        (L2, {"weight_decay": 0.1}, "did you mean 'lam'?"),
        (MaxNorm, {"max_norm": 0.1}, "did you mean 'limit'?"),
        (Step, {"step_size": 0.1}, "did you mean 'every'?"),
        (TopK, {"topk": 3}, "TopK: no argument 'topk'; it takes k=5"),
        (ECE, {"bin": 3}, "ECE: no argument 'bin'; did you mean 'bins'?"),
        (EarlyStopping, {"patiense": 3}, "did you mean 'patience'?"),
        (Augment, {"rotation_range": 30}, "Augment: no argument 'rotation_range'; did you mean 'rotate'?"),
        (Augment, {"horizontal_flip": True}, "did you mean 'flip'?"),
        (Model, {"net": mlp((4, 2)), "optimiser": "adam"}, "Model: no argument 'optimiser'; did you mean 'optimizer'?"),
        (Model, {"net": mlp((4, 2)), "learning_rate": 0.1}, "give it to the optimizer: Model(net, optimizer=Adam(lr="),
        (Model, {"network": mlp((4, 2))}, "did you mean 'net'?"),
        (
            Model(mlp((4, 2))).fit,
            {"x": 0, "epochs": 1, "batchsize": 4},
            "fit: no argument 'batchsize'; did you mean 'b",
        ),
        (Model(mlp((4, 2))).fit, {"x": 0, "n_epochs": 1}, "did you mean 'epochs'?"),
        (Model(mlp((4, 2))).fit, {"x": 0, "epochs": 1, "optimiser": 0}, "give it to Model(net, ...)"),
        (Model(mlp((4, 2))).fit, {"x": 0}, "fit: missing a required argument: 'epochs'"),
        (Model(mlp((4, 2))).evaluate, {"x": 0, "batch": 4}, "did you mean 'batch_size'?"),
        (load_folder, {"path": "x", "image_size": 3}, "did you mean 'size'?"),
        (load_image, {"source": "x", "gamma": 3}, "load_image: no argument 'gamma'; it takes source, name=''"),
    ],
)
def test_unknown_and_missing_arguments_are_refused(call, arguments, message):
    assert message in error_of(call, **arguments)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_refuses_an_unknown_argument_and_keeps_its_signature(kind):
    assert error_of(kind, no_such_thing=1).startswith(f"{kind.__name__}: no argument 'no_such_thing'")
    assert "args" not in inspect.signature(kind).parameters  # help(), editors and recipes read the signature
    assert set(inspect.signature(kind).parameters) == set(get_type_hints(kind.__init__)) - {"return"}


def test_too_many_arguments_and_abstract_classes_are_refused():
    assert error_of(layers.Dense, 3, True, "he", "zeros", 4).startswith(
        "Dense: too many positional arguments; it takes"
    )
    with pytest.raises(TypeError, match="abstract") as error:
        layers.Layer()
    assert not isinstance(error.value, PellucidError)


def test_a_type_error_raised_in_the_constructor_is_unchanged():
    class FailingLayer(layers.ReLU):
        def __init__(self):
            len(3)

    @checked
    def failing_function(x):
        return len(x)

    for call in (FailingLayer, lambda: failing_function(3)):
        with pytest.raises(TypeError, match="has no len") as error:
            call()
        assert not isinstance(error.value, ArgumentError)


def test_layers_can_be_copied_and_pickled():
    layer = layers.Conv2d(3, 2)
    assert layer == copy.deepcopy(layer) == pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("SGD", OPTIMIZERS, "sgd"),
        ("Adam", OPTIMIZERS, "adam"),
        ("cross_entropy", LOSSES, "softmax_cross_entropy"),
        ("sparse_categorical_crossentropy", LOSSES, "softmax_cross_entropy"),
        ("mse", LOSSES, "quadratic"),
        ("MAE", LOSSES, "l1"),
        ("bce", LOSSES, "binary_cross_entropy"),
        ("dense", ["Dense", "Conv2d"], "Dense"),
        ("learning_rate", ["momentum", "lr"], "lr"),
        ("learning_rate", ["momentum"], None),
        ("xyz", ["momentum"], None),
    ],
)
def test_names_of_other_libraries_and_misspelt_names_have_suggestions(word, known, expected):
    assert closest(word, known) == expected
    assert nearest(word, known) == ("" if expected is None else f"; did you mean {expected!r}?")
