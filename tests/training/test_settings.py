"""The settings of a training in a checkpoint: what is compared when it is resumed, also by a later version."""

import dataclasses
import inspect
import json

import pytest
import torch

from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.data import Augment, Dataset
from pellucid.layers import Add, Dense, ReLU
from pellucid.model import Model
from pellucid.optim import SGD, Adam, AdamW, MaxNorm, RMSprop
from pellucid.optim.regularizers import L1, L2, ElasticNet
from pellucid.optim.schedules import Constant, Cosine, InverseTime, OneCycle, ReduceOnPlateau, Step, Warmup
from pellucid.training.options import FitOptions
from pellucid.training.plan import preparing_plan
from pellucid.training.settings import describe, is_unchanged
from tests.layers.samples import SAMPLES
from tests.losses.cases import CASES

# Version 0.2.0 saved these hashes.
EARLIER_HASHES = [
    (SGD(lr=0.1), "33b3f7ebb1d6056e"),
    (RMSprop(lr=0.01, rho=0.99, epsilon=1e-08, momentum=0.0, centered=False), "131d68f627a21c5d"),
    (Adam(lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, amsgrad=False), "fc5f5904f3b06d60"),
    (AdamW(lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01, amsgrad=False), "b3db0e7e995fa409"),
    (Constant(), "43160eb5911b2920"),
    (InverseTime(t0=5.0, t1=50.0, unit="epochs"), "eda6c1950b300d74"),
    (Step(drop=0.1, every=2, at_times=(), unit="epochs"), "751387d7dc8136ac"),
    (Cosine(minimum=0.0), "56e6d6aeaae76855"),
    (OneCycle(pct_start=0.3, div_factor=25.0, final_div_factor=10000.0), "a501022e6faf6054"),
    (Warmup(steps=3, then=Constant(), start=0.01), "11dbf4b1192b9e7c"),
    (ReduceOnPlateau(drop=0.1, patience=10, threshold=0.0001, cooldown=0, minimum=0.0), "f06adabc6b479e5d"),
    (L1(decoupled=False, lam=0.1), "bbf08c7ebd860f8e"),
    (L2(decoupled=False, lam=0.1), "f628916a1c868ce0"),
    (ElasticNet(decoupled=False, l1=0.1, l2=0.2), "e45b3ae0df55deb5"),
    (MaxNorm(limit=3.0), "d7bc29f2fcb5486c"),
    (Augment(), "8ddb3b56b01d162f"),
]
NETWORKS = [
    Sequential(a=Dense(3), b=Sequential(ReLU(), Dense(2, bias=False))),
    Parallel((Dense(3), ReLU()), Add()),
    Fork(first=Dense(3), second=Dense(4)),
    Graph({"a": (Dense(3), "input"), "b": (ReLU(), "a"), "c": (Add(), "a", "b")}, outputs=("c",)),
]
PARTS = [
    *(value for value, _ in EARLIER_HASHES),
    *NETWORKS,
    *(sample.layer for sample in SAMPLES),
    *(case[0] for case in CASES.values()),
    Augment(shift=0.1, flip=True),
    {"generator": Adam(), "discriminator": Adam(lr=0.1)},
    (L2(0.1), MaxNorm(2.0)),
]
each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)


def saved(value):
    """Return the description of a value as a checkpoint contains it."""
    return json.loads(json.dumps(describe(value), allow_nan=False))


def objects(description):
    """Yield all descriptions of objects in a description."""
    if isinstance(description, dict):
        if "type" in description:
            yield description
        description = list(description.values())
    for part in description if isinstance(description, list) else []:
        yield from objects(part)


def fields_with_their_default(part):
    """Yield (description of an object, name) for the objects in a part and their fields with the default value."""
    names = {}
    for one in nested(part):
        for field in dataclasses.fields(one) if dataclasses.is_dataclass(one) else ():
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            names[type(one).__name__, field.name] = default
    return names


def nested(value):
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from nested(part)
    elif dataclasses.is_dataclass(value):
        yield value
        yield from nested([getattr(value, field.name) for field in dataclasses.fields(value)])


@pytest.mark.parametrize(("value", "earlier_hash"), EARLIER_HASHES)
def test_hashes_of_version_0_2_0_are_recognized(value, earlier_hash):
    """If this fails for a new field: `is_unchanged` must also accept the hash without it while it has its default."""
    assert is_unchanged(earlier_hash, value)
    assert not is_unchanged(earlier_hash[::-1], value)


@each_part
def test_a_description_is_that_of_its_value(part):
    assert is_unchanged(saved(part), part)


@each_part
def test_a_field_that_an_earlier_version_lacked_must_have_its_default(part):
    defaults = fields_with_their_default(part)
    n_objects = len(list(objects(saved(part))))
    for index in range(n_objects):
        names = [name for name in list(objects(saved(part)))[index] if name != "type"]
        for name in names:
            description = saved(part)
            described = list(objects(description))[index]
            value = described.pop(name)
            default = defaults.get((described["type"], name), dataclasses.MISSING)
            has_default = default is not dataclasses.MISSING and saved(default) == value
            assert is_unchanged(description, part) == has_default, (described, name)


@each_part
def test_every_change_of_a_value_is_found(part):
    n_objects = len(list(objects(saved(part))))
    for index in range(n_objects):
        for name in list(objects(saved(part)))[index]:
            description = saved(part)
            list(objects(description))[index][name] = "another value"
            assert not is_unchanged(description, part), name
        description = saved(part)
        list(objects(description))[index]["removed_since"] = 0
        assert not is_unchanged(description, part)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Sequential(a=Dense(3), b=ReLU()), Sequential(b=ReLU(), a=Dense(3))),  # equal dicts in another order
        (Sequential(a=Dense(3)), Sequential(a=Dense(3), b=ReLU())),
        (Sequential(a=Dense(3), b=ReLU()), Sequential(a=Dense(3))),
        (Sequential(a=Dense(3)), Sequential(b=Dense(3))),
        (Adam(), AdamW()),
        (Adam(0.1), Adam(0.2)),
        ({"generator": Adam()}, Adam()),
        ((L2(0.1),), (L2(0.1), L1(0.1))),
        ((L2(0.1),), ()),
        (Warmup(3, Cosine()), Warmup(3, OneCycle())),
        (None, 1.0),
        ("float32", "bfloat16"),
        (1, 2),
    ],
)
def test_other_settings_differ(before, after):
    assert not is_unchanged(saved(before), after)
    assert not is_unchanged(saved(after), before)


@pytest.mark.parametrize("damaged", [None, 0, [], {}, "Dense", [["Dense"]], {"type": []}, {"type": "Dense"}])
def test_descriptions_that_are_no_description_differ(damaged):
    assert not is_unchanged(damaged, Dense(3))


# For each argument of Model and of `fit`, another value, which a resumed training must not have;
CHANGED_ARGUMENTS = {
    "loss": "quadratic",
    "optimizer": "sgd",
    "metrics": "ece",
    "classes": ("a", "b"),
    "seed": 1,
    "regularizer": L2(0.1),
    "schedule": Cosine(),
    "clip": 1.0,
    "average": 0.9,
    "precision": "float64",
    "preprocess": {"mean": [0.5], "std": [0.5]},
    "epochs": 3,
    "batch_size": 5,
    "augment": Augment(flip=True),
    "accumulate": 2,
    "shards": 2,
    "exact": False,
}
# and those that change no bits of the weights, are compared by the network and the data, or with another argument.
OTHER_ARGUMENTS = {
    *("net", "input_shape", "x", "y", "validation", "steps_per_epoch", "callbacks", "run", "resume", "monitor"),
    *("checkpoint_seconds", "manifest", "verbose", "bucket_mb", "shard_optimizer"),
    "batch_norm",  # only with exact=False
    "device",  # compared if it is not the CPU
}


def resumed_settings(**changes):
    """Return the settings that a resumed training must repeat, with changed arguments of Model and `fit`."""
    model_arguments = {name: value for name, value in changes.items() if name in inspect.signature(Model).parameters}
    model = Model(Sequential(Dense(2)), **model_arguments, input_shape=(4,))
    defaults = {name: argument.default for name, argument in inspect.signature(Model.fit).parameters.items()}
    options = FitOptions.of({**defaults, "epochs": 2, "batch_size": 4, **changes, "verbose": False})
    data = Dataset.from_arrays(torch.zeros(8, 4), torch.arange(8) % 2)
    with preparing_plan(options, model, model.preprocess, data, None) as plan:
        return {name: saved(value) for name, value in plan.settings.items()}


def test_a_resumed_training_must_repeat_each_argument():
    arguments = {*inspect.signature(Model).parameters, *inspect.signature(Model.fit).parameters} - {"self"}
    assert arguments == CHANGED_ARGUMENTS.keys() | OTHER_ARGUMENTS, (
        "name each argument of Model and fit here; pellucid/training/settings.py compares those that change weights"
    )
    unchanged = resumed_settings()
    assert unchanged == resumed_settings()
    for name, value in CHANGED_ARGUMENTS.items():
        assert resumed_settings(**{name: value}) != unchanged, f"{name}: compare it in pellucid/training/settings.py"
