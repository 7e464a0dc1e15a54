"""Registration of user-defined classes; classes that cannot be saved are refused before the first step."""

import enum
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch

import pellucid
from pellucid import Callback, Checkpoint, Dense, Layer, Loss, Metric, Model, PellucidError, Sequential
from pellucid.extend import registry
from pellucid.extend.config import from_config, loss_from_config, metric_from_config, metrics_to_config, to_config
from pellucid.layers import Conv2d, Flatten, ReLU
from pellucid.optim import SGD, Optimizer
from tests.own import parts
from tests.own.parts import Errors, Lion, OwnFocal, Scale, output_std
from tests.training.small import digits, small_mlp


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Replace the registry by an empty one for a test."""
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", {})


def through_json(value):
    return json.loads(json.dumps(value))


class Plain(Layer):
    """A layer without fields."""

    def init(self, shape, rng):
        return {}, shape

    def forward(self, params, x, mode):
        return x, None

    def backward(self, params, cache, dy):
        return dy, {}


@dataclass(frozen=True)
class NestedLoss(Loss):
    """A loss with another loss as field."""

    inner: Loss
    weights: tuple[float, ...] = (1.0, 2.0)

    def compute(self, y, target):
        return self.inner.compute(y, target)


@dataclass(frozen=True)
class LayerWithFields(Plain):
    """A layer with a field of every supported kind."""

    layer: Layer
    names: tuple[str, ...] = ("a", "b")
    table: Mapping[str, int] = field(default_factory=dict)
    limit: float | None = None


class Block(Sequential):
    """A subclass of Sequential that changes only the name."""


@pytest.mark.parametrize(
    "layer",
    [
        Plain(),
        Scale(2.0),
        LayerWithFields(Scale(0.5), ("x",), {"k": 3}, 1.5),
        Block(a=Scale(), b=Dense(3)),
        Sequential(Block()),
    ],
    ids=str,
)
def test_registered_layers_are_restored_equal(layer):
    assert pellucid.register(Plain, Scale, LayerWithFields, Block) is Plain
    restored = from_config(through_json(to_config(layer)))
    assert restored == layer
    assert type(restored) is type(layer)


def test_registered_losses_and_metrics_are_restored_equal():
    pellucid.register(NestedLoss)
    pellucid.register(OwnFocal)
    loss = NestedLoss(OwnFocal(1.0), (0.5,))
    assert loss_from_config(through_json(to_config(loss))) == loss
    pellucid.register(output_std)
    for metric in ("accuracy", Errors("wrong"), output_std, pellucid.metrics.TopK(3)):
        (entry,) = through_json(metrics_to_config([metric], [Errors]))["metrics"]
        assert metric_from_config(entry, [Errors]) == metric


def test_register_is_a_decorator():
    @pellucid.register
    class Mine(Plain):
        pass

    assert from_config({"type": "Mine"}) == Mine()


def test_a_redefined_class_replaces_the_previous_one():
    def cell():
        @pellucid.register
        class Again(Plain):
            pass

        return Again

    first, second = cell(), cell()
    assert type(from_config({"type": "Again"})) is second
    with pytest.raises(PellucidError, match="another class or function is registered as Again"):
        to_config(first())


def test_two_models_may_each_have_a_class_of_the_same_name(tmp_path):
    class Same(Plain):
        pass

    first, Second = Same, type("Same", (Plain,), {})  # noqa: N806
    model = Model(Sequential(Flatten(), same=first(), d=Dense(2)), input_shape=(3,), metrics=())
    model.custom = (first,)
    model.save(tmp_path / "m.safetensors")
    for kind in (first, Second):
        loaded = Model.load(tmp_path / "m.safetensors", custom=[kind])
        assert type(loaded.net.children["same"]) is kind
        loaded.save(tmp_path / "again.safetensors")  # saved with the class given to load


class HasInit(Plain):
    def __init__(self, factor):
        self.factor = factor


@dataclass(frozen=True)
class NamesItsType(Plain):
    type: str = "a"


class Half(Loss):
    pass


@dataclass(frozen=True)
class Untyped(Plain):
    held: "Nowhere" = None  # type: ignore[name-defined] # noqa: F821


REFUSED_CLASSES = {
    "Conv2d: one of pellucid's own parts has this name": type("Conv2d", (Plain,), {}),
    "accuracy: one of pellucid's own parts has this name": type("accuracy", (Metric,), dict(vars(Errors))),
    "HasInit: its constructor takes 'factor', which is not a field; make the class a dataclass": HasInit,
    "NamesItsType: no field can be called 'type'": NamesItsType,
    "Half is not complete: it needs the method compute": Half,
    "Untyped: its annotations cannot be read": Untyped,
    "int cannot be registered: it is not a layer, loss, metric or objective": int,
    "Scale(start=1.0, noise=0.0) cannot be registered; give a class": Scale(),
    "cannot be registered; give a class, or a function that is defined by def": lambda outputs, targets: 0.0,
    "3 cannot be registered": 3,
    "functools.partial(<function output_std": functools.partial(output_std),
}


@pytest.mark.parametrize("message", REFUSED_CLASSES)
def test_classes_that_cannot_be_registered_are_refused(message):
    with pytest.raises(PellucidError) as caught:
        pellucid.register(REFUSED_CLASSES[message])
    assert message in str(caught.value)
    with pytest.raises(PellucidError):
        from_config({"type": "ReLU"}, custom=[REFUSED_CLASSES[message]])


def test_a_single_class_in_place_of_a_list_is_refused(tmp_path):
    small_mlp(input_shape=(1, 8, 8)).save(tmp_path / "m.safetensors")
    with pytest.raises(PellucidError, match=r"custom takes a list of classes, \[Scale, ...\], not <class"):
        Model.load(tmp_path / "m.safetensors", custom=Scale)


def test_a_name_that_another_class_has_is_refused():
    pellucid.register(Scale)
    pellucid.register(Scale)  # registering the same class twice is allowed
    with pytest.raises(PellucidError, match=r"Scale: tests\.own\.parts\.Scale is already registered by this name"):
        pellucid.register(type("Scale", (Plain,), {}))
    with pytest.raises(PellucidError, match="Scale: two of these have this name"):
        from_config({"type": "ReLU"}, custom=[Scale, type("Scale", (Plain,), {})])


def test_a_constructor_argument_that_is_not_a_field_is_refused():
    class Bare(Lion):
        def __init__(self, power):
            super().__init__()

    pellucid.register(parts.Lion, parts.HalveOnPlateau, parts.QuarticPenalty, parts.WeightAverage)
    with pytest.raises(PellucidError, match="Bare: its constructor takes 'power', which is not a field"):
        pellucid.register(Bare)
    assert not registry.REGISTERED


def test_loading_accepts_the_classes_that_register_accepts(tmp_path):
    class Bare(Lion):
        def __init__(self, power):
            super().__init__()

    file = tmp_path / "m.safetensors"
    model = Model(Sequential(flat=Flatten(), scale=Plain(), d=Dense(2)), optimizer=Lion(), input_shape=(1, 2, 2))
    model.custom = (Plain,)
    model.save(file)
    classes = [Lion, Plain, parts.HalveOnPlateau, parts.QuarticPenalty, parts.WeightAverage]
    loaded = Model.load(file, custom=classes)
    assert (loaded.net, loaded.custom) == (model.net, (Plain,))
    loaded.save(file)  # with the classes that were given to load
    with pytest.raises(PellucidError, match="Bare: its constructor takes 'power', which is not a field"):
        Model.load(file, custom=[*classes, Bare])
    with pytest.raises(PellucidError, match="int cannot be registered"):
        Model.load(file, custom=[*classes, int])


def test_a_file_with_unregistered_classes_is_refused_with_a_remedy(tmp_path, capsys):
    from pellucid.cli.main import main

    path = tmp_path / "own.safetensors"
    model = Model(Sequential(Flatten(), scale=Plain(), d=Dense(2)), OwnFocal(), input_shape=(3,), metrics=[output_std])
    model.custom = (Plain, OwnFocal, output_std)
    model.save(path)
    hint = "register it: pellucid.register({0}) or Model.load(path, custom=[{0}])"
    for custom, missing in (([], "Plain"), ([Plain], "OwnFocal"), ([Plain, OwnFocal], "output_std")):
        with pytest.raises(PellucidError) as caught:
            Model.load(path, custom=custom)
        assert hint.format(missing) in str(caught.value)
    assert main(["evaluate", str(path)]) == 2
    error_output = capsys.readouterr().err
    assert hint.format("Plain") in error_output
    assert error_output.count("\n") == 1


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class AnyField(Plain):
    held: object = None


@dataclass(frozen=True)
class IntegerField(Plain):
    count: int = 1


@dataclass(frozen=True)
class Restless(Plain):
    value: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "value", self.value + 1)


UNSAVABLE_LAYERS = {
    "Sequential.children.x.held is tensor(1.)": AnyField(torch.tensor(1.0)),
    "Sequential.children.x.held is <Colour.RED: 1>": AnyField(Colour.RED),
    "Sequential.children.x.held is inf": AnyField(float("inf")),
    "Sequential.children.x.held is <class 'int'>": AnyField(int),
    "the field 'count' is 1.5, but annotated as int": IntegerField(1.5),
    "building it again from its fields gives another object; store the arguments of the constructor": Restless(),
    "constructor takes 'factor', which is not a field": HasInit(2.0),
    "Plain is not registered, so no file can name it; register it: pellucid.register(Plain)": Plain(),
}


class FailOnStep(Callback):
    """Fail the test if a training step is run."""

    def on_step(self, training):
        raise AssertionError("a step was taken")


@pytest.mark.parametrize("message", UNSAVABLE_LAYERS)
@pytest.mark.parametrize("method", ["run", "callback", "save"])
def test_unsavable_parts_are_refused_before_the_first_step(tmp_path, message, method):
    layer = UNSAVABLE_LAYERS[message]
    model = Model(Sequential(flat=Flatten(), x=layer, d=Dense(10)))
    if type(layer) is HasInit:
        model.custom = (HasInit,)
    elif type(layer) is not Plain:
        pellucid.register(type(layer))

    def fit_or_save():
        if method == "save":
            model.build((1, 8, 8))
            model.save(tmp_path / "m.safetensors")
        run_option = {"run": tmp_path / "run"} if method == "run" else {}
        callbacks = (
            [FailOnStep()] if method == "run" else [FailOnStep(), Checkpoint(tmp_path / "m.safetensors", "train_loss")]
        )
        model.fit(digits(0, 50), epochs=1, batch_size=50, callbacks=callbacks, verbose=False, **run_option)

    with pytest.raises(PellucidError) as caught:
        fit_or_save()
    assert message in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_training_without_a_run_folder_accepts_unregistered_classes():
    model = Model(
        Sequential(flat=Flatten(), x=HasInit(2.0), d=Dense(10)), OwnFocal(), metrics=[lambda outputs, targets: 0.5]
    )
    history = model.fit(digits(0, 50), epochs=2, batch_size=25, verbose=False)
    assert history["train_<lambda>"] == [0.5, 0.5]


class Stray(SGD):
    """An optimizer that stores its velocity in an attribute, which checkpoints do not contain."""

    def __init__(self):
        super().__init__(0.1)
        object.__setattr__(self, "velocity", {})


@dataclass(frozen=True)
class Given(Optimizer):
    """An optimizer whose `init` returns `state`, and whose `update` adds the entry `later`."""

    lr: float = 0.1
    state: object = None
    later: str = ""

    def init(self, params):
        return {} if self.state is None else self.state

    def update(self, params, grads, state, lr):
        if self.later:
            state[self.later] = [torch.zeros_like(param) for param in params]


class Remembers(Callback):
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"best": self.value}


UNSAVABLE_STATES = {
    "Stray: the attribute 'velocity' is not a field of the class": (Stray(), []),
    "Given: state['mean'] is 0.5; store a whole number, or a list with one tensor": (Given(state={"mean": 0.5}), []),
    "Given: state['mean'] is []; store a whole number": (Given(state={"mean": []}), []),
    "Given: update adds or removes 'mean' in its state; let init return": (Given(later="mean"), []),
    "Given: init must return a dict, not 3": (Given(state=3), []),
    "Remembers: state_dict()['best'] is inf, which a checkpoint cannot": (SGD(0.1), [Remembers(float("inf"))]),
    "Remembers: state_dict()['best'] is (1, 2), which": (SGD(0.1), [Remembers((1, 2))]),
    "Remembers: state_dict()['best'] is {3}, which": (SGD(0.1), [Remembers({3})]),
}  # fmt: skip


@pytest.mark.parametrize("message", UNSAVABLE_STATES)
def test_state_that_no_checkpoint_can_restore_is_reported_before_the_first_step(tmp_path, message):
    optimizer, callbacks = UNSAVABLE_STATES[message]
    model = Model(small_mlp().net, optimizer=optimizer)
    with pytest.raises(PellucidError) as caught:
        model.fit(
            digits(0, 50), epochs=1, batch_size=50, callbacks=[*callbacks, FailOnStep()], run=tmp_path, verbose=False
        )
    assert message in str(caught.value)


def test_a_resumed_training_must_have_the_same_metrics_and_fields(tmp_path):
    pellucid.register(*parts.PARTS)

    def fit(start, metric):
        net = Sequential(conv=Conv2d(2, 3), scale=Scale(start), act=ReLU(), flat=Flatten(), d=Dense(10))
        model = Model(net, OwnFocal(), metrics=[metric])
        model.fit(digits(0, 50), epochs=1, batch_size=50, run=tmp_path, resume=True, verbose=False)

    fit(1.0, output_std)
    fit(1.0, output_std)
    with pytest.raises(PellucidError, match="was begun with other settings: network"):
        fit(1.5, output_std)
    with pytest.raises(PellucidError, match="was begun with other settings: metrics"):
        fit(1.0, Errors())


def test_a_description_larger_than_a_file_may_have_is_reported_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.run.weights.MAX_WEIGHTS_HEADER_BYTES", 2000)
    model = Model(Sequential(flat=Flatten(), **{f"layer{k}": ReLU() for k in range(100)}, scores=Dense(10)))
    with pytest.raises(PellucidError, match=r"the model cannot be written: its description takes .* the limit of 2000"):
        model.fit(digits(), epochs=1, run=tmp_path / "run", callbacks=[FailOnStep()], verbose=False)
