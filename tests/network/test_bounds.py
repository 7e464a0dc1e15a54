"""Limits on memory and work: networks that a short file can describe but no machine can run."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.combine.base import shape_of
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Pad2d,
    PadChannels,
    ReLU,
    Reshape,
    Sigmoid,
    Tanh,
    Upsample,
)
from pellucid.layers.base import Mode
from pellucid.network import bounds
from pellucid.network.bounds import init_within_bounds
from pellucid.run.weights import write_weights
from pellucid.training.evaluate import batch_within_memory
from tests.cases import each_sample, mostly_heavy
from tests.combine.samples import NETWORKS
from tests.layers.samples import SAMPLES
from tests.models.zoo import ZOO
from tests.pace import in_loop_durations


def nested_layers(depth: int, wrap: "type[Layer] | object") -> Layer:
    net: Layer = Identity()
    for _ in range(depth):
        net = wrap(net)  # type: ignore[operator]
    return net


def repeated_layer(net: Layer) -> Layer:
    """Return a network that applies a layer twice, with the same weights."""
    return Graph({"a": (net, "input"), "b": ("a", "a")}, ("b",))


def fork_shared(net: Layer) -> Layer:
    """Return a network that applies a layer to two copies of its input, with the same weights, and adds the outputs."""
    return Sequential(Fork(Identity(), Identity()), Shared(net), Add())


def concatenated_twice(net: Layer) -> Layer:
    """Return a network that concatenates a layer's output with itself."""
    return Sequential(net, Parallel((Identity(), Identity()), Concat()))


MEMORY_MESSAGE, WORK_MESSAGE = "bytes of memory for one", "multiply-adds for one"
RUNS_MESSAGE, VALUES_MESSAGE = "runs of layers", "output values"
TOO_LARGE = {
    "the pad of the report": (Sequential(Pad2d(32768), Flatten()), (1, 1, 1), MEMORY_MESSAGE),
    "an image": (Flatten(), (3, 1 << 20, 1 << 20), MEMORY_MESSAGE),
    "upsampling": (Sequential(*[Upsample(2) for _ in range(15)]), (1, 1, 1), MEMORY_MESSAGE),
    "transposed convolutions": (
        Sequential(*[ConvTranspose2d(1, 4, stride=4) for _ in range(8)]), (1, 1, 1), MEMORY_MESSAGE
    ),
    "a pooling that grows": (AdaptiveAvgPool2d((20_000, 20_000)), (1, 2, 2), MEMORY_MESSAGE),
    "channels": (PadChannels(0, 1 << 30), (1, 2, 2), MEMORY_MESSAGE),
    "channels of a convolution": (Conv2d(1 << 20, 1), (1, 64, 64), MEMORY_MESSAGE),
    "outputs of a dense layer": (Dense(1 << 30), (1,), MEMORY_MESSAGE),
    "doubling": (nested_layers(40, concatenated_twice), (1, 2, 2), MEMORY_MESSAGE),
    "a padding that the stride hides": (
        Sequential(Pad2d(20_000), MaxPool2d(1, stride=40_000)), (1, 1, 1), MEMORY_MESSAGE
    ),
    "repetitions": (nested_layers(40, repeated_layer), (1, 2, 2), RUNS_MESSAGE),
    "sharing": (nested_layers(38, fork_shared), (1, 2, 2), RUNS_MESSAGE),
    "many large outputs": (Sequential(*[ReLU() for _ in range(200)]), (1, 4096, 4096), VALUES_MESSAGE),
    "large windows": (Sequential(MaxPool2d(501, stride=1, padding=250)), (1, 1024, 1024), WORK_MESSAGE),
    "large averages": (Sequential(AvgPool2d(501, stride=1)), (1, 1024, 1024), WORK_MESSAGE),
    "large kernels": (Conv2d(1, 501, padding=250), (1, 1024, 1024), WORK_MESSAGE),
    "deep kernels": (Conv2d(1024, 33, padding=16), (1024, 64, 64), WORK_MESSAGE),
    "a padding of a small map": (Conv2d(8, 3, padding=1500), (8, 10, 10), MEMORY_MESSAGE),
    "a stride far above the kernel": (ConvTranspose2d(4, 4, stride=100_000), (5, 1, 1), WORK_MESSAGE),
    "branches": (
        Parallel(tuple(Upsample(64) for _ in range(40)), Concat()),
        (3, 32, 32),
        MEMORY_MESSAGE,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_network_above_the_memory_limit_is_refused_before_it_is_built(name):
    net, shape, message = TOO_LARGE[name]
    start = time.process_time()
    with pytest.raises(PellucidError, match=message):
        init_within_bounds(net, shape)
    assert in_loop_durations(time.process_time() - start) < 400


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 5)])
def test_layers_that_need_no_run_count_as_in_a_run_by_pytorch(shape, monkeypatch):
    net = Sequential(Flatten(), Dense(30), Sigmoid(), Dense(20, bias=False), ReLU(), Dense(10), Tanh())
    counts = []
    for known_result in (lambda func, args: None, bounds._known_result):
        monkeypatch.setattr(bounds, "_known_result", known_result)
        tally = bounds.Tally({})
        with torch.device("meta"), torch.no_grad():
            with tally:
                x = torch.empty(1, *shape)
            bounds._run_children(tally, "")("", net, {}, x, Mode(keep=False))
        counts.append((tally.n_output_values, tally.n_multiply_adds, tally.peak_memory, tally.n_layer_runs))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_outputs_that_need_no_run_have_the_shapes_of_a_run_by_pytorch(sample, monkeypatch):
    shapes, counts = [], []
    for known_result in (lambda func, args: None, bounds._known_result):
        monkeypatch.setattr(bounds, "_known_result", known_result)
        tally = bounds.Tally({})
        with torch.device("meta"), torch.no_grad():
            with tally:
                x = bounds._empty(sample.shape, 2, 2)
            try:
                y, _ = bounds._run_children(tally, "")("", sample.layer, {}, x, Mode(keep=False))
            except PellucidError as error:  # such as for a layer that needs the values of its inputs
                y = torch.tensor([])
                shapes.append(str(error))
        shapes.append(shape_of(y))
        counts.append((tally.n_output_values, tally.peak_memory))
    assert shapes[: len(shapes) // 2] == shapes[len(shapes) // 2 :]
    for by_pytorch, known in zip(*counts, strict=True):
        assert 0.5 * by_pytorch <= known <= by_pytorch  # the statistics of a normalization are not counted


@pytest.mark.parametrize(
    "name", mostly_heavy(["resnet20", "densenet121", "mobilenet_v2", "efficientnet_b0", "unet"], 5)
)
@pytest.mark.slow
def test_the_bounds_of_a_network_do_not_import_the_compiler(name):
    code = (
        "import sys, pellucid.models\nfrom pellucid.network.bounds import init_within_bounds\n"
        f"init_within_bounds(pellucid.models.{name}(), (3, 64, 64))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_layer_above_the_limit_is_named():
    with pytest.raises(
        PellucidError, match=r"^body\.pad: takes the network to 17,.* above 536,870,912; make it smaller.* .*is \(1, 1"
    ):
        init_within_bounds(Sequential(act=ReLU(), body=Sequential(pad=Pad2d(32768))), (1, 1, 1))


def test_a_short_file_of_a_huge_network_is_refused_in_one_line(tmp_path):
    path = tmp_path / "pad.safetensors"
    layers = {"pad": {"type": "Pad2d", "padding": 32768}, "flat": {"type": "Flatten"}}
    about = {
        "network": {"type": "Sequential", "children": layers},
        "loss": {"type": "SoftmaxCrossEntropy"},
        "input_shape": [1, 1, 1],
        "classes": None,
    }
    write_weights(path, {}, json.loads(json.dumps(about)))
    assert path.stat().st_size < 600
    with pytest.raises(PellucidError, match=r"pad\.safetensors: pad: takes the network to .* bytes of memory") as info:
        Model.load(path)
    assert "\n" not in str(info.value)


def u_net(filters: int, depth: int) -> Layer:
    """Ronneberger et al. 2015 with padding and batch normalization."""
    convs = [part for _ in range(2) for part in (Conv2d(filters, 3, padding=1), BatchNorm(), ReLU())]
    if not depth:
        return Sequential(*convs)
    deeper_levels = Sequential(MaxPool2d(2), u_net(2 * filters, depth - 1), ConvTranspose2d(filters, 2, stride=2))
    return Sequential(*convs, Parallel((Identity(), deeper_levels), Concat()), *convs)


PUBLISHED_NETWORKS = [
    *((str(published), published.build(), (3, published.side, published.side)) for published in ZOO),
    ("resnet50 at 299", ZOO[0].__class__("resnet50", {}, 299, 0, (0, 0, 0), None).build(), (3, 299, 299)),
    ("vgg19_bn at 299", ZOO[0].__class__("vgg19_bn", {}, 299, 0, (0, 0, 0), None).build(), (3, 299, 299)),
    ("u-net at 512", Sequential(u_net(64, 4), Conv2d(21, 1)), (3, 512, 512)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "net", "shape"), PUBLISHED_NETWORKS, ids=[name for name, *_ in PUBLISHED_NETWORKS])
def test_published_networks_are_within_the_limits(name, net, shape):
    params, out = init_within_bounds(net, shape)
    with torch.device("meta"):
        _, expected = net.init(shape, torch.Generator())
    assert out == expected
    assert all(tensor.is_meta for tensor in _tensors(params))


@each_sample([*SAMPLES, *NETWORKS.values()])
def test_every_layer_and_combinator_is_within_the_limits(sample):
    _, out = init_within_bounds(sample.layer, sample.shape)
    assert out == sample.layer.init(sample.shape, torch.Generator())[1]


class ValueDependentLayer(Layer):
    """A user-defined layer whose forward pass depends on values of its input."""

    def init(self, shape, rng):
        return {}, (4, *shape)

    def forward(self, params, x, mode):
        return x.expand(4, *x.shape) * float(x.max()), None

    def backward(self, params, cache, dy):
        raise NotImplementedError


def test_a_user_defined_layer_is_counted_by_its_output():
    assert init_within_bounds(Sequential(ValueDependentLayer(), Reshape((2, -1))), (3, 2))[1] == (2, 12)
    with pytest.raises(PellucidError, match=r"valuedependentlayer13: takes the network to .* bytes of memory"):
        init_within_bounds(Sequential(*[ValueDependentLayer() for _ in range(20)]), (3, 2))


class UserSequential(Sequential):
    """A user-defined combinator that inherits the `flow` of Sequential."""


@pytest.mark.parametrize("kind", [Sequential, UserSequential])
def test_layers_inside_a_user_defined_combinator_are_counted(kind):
    net = Sequential(block=kind(pad=Pad2d(20_000), pool=AvgPool2d(4_000, 4_000)), flatten=Flatten(), scores=Dense(2))
    with pytest.raises(PellucidError, match=r"^block\.pad: takes the network to .* bytes of memory"):
        init_within_bounds(net, (1, 28, 28))


class ScaledSequential(Sequential):
    """A user-defined combinator with a weight of its own."""

    def init(self, shape, rng):
        params, out = super().init(shape, rng)
        return {**params, "scale": torch.ones(out)}, out

    def flow(self, params, x, mode, step):
        y, cache = super().flow(params, x, mode, step)
        return params["scale"] * y, cache


def test_weights_of_a_user_defined_combinator_are_counted():
    params, out = init_within_bounds(Sequential(block=ScaledSequential(dense=Dense(4)), scores=Dense(2)), (3,))
    assert out == (2,)
    assert params["block"]["scale"].shape == (4,)


@pytest.mark.parametrize(("side", "max_batch_size"), [(1, 256), (1024, 127), (4096, 7)])
def test_evaluation_batches_are_as_large_as_the_memory_allows(side, max_batch_size):
    """Outputs take 8 side^2 + 4 bytes an input; the limit is 1 GiB. For 1024, just above 8 MiB, 127 inputs fit."""
    model = Model(
        Sequential(Upsample(side), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Dense(1)), "l1", input_shape=(1, 1, 1)
    )
    x = torch.ones(300, 1, 1, 1)
    assert batch_within_memory(model, x) == max_batch_size
    assert batch_within_memory(model, x[:1]) == 1


@pytest.mark.heavy
@pytest.mark.slow
def test_a_large_network_is_evaluated_in_small_batches():
    """A batch of 256 inputs would take 32 GiB."""
    model = Model(Sequential(Upsample(4096), AdaptiveAvgPool2d(1), Flatten(), Dense(1)), "l1", input_shape=(1, 1, 1))
    x = torch.linspace(0, 1, 18).view(18, 1, 1, 1)
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    y = model.predict(x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 2 << 20  # KiB
    torch.testing.assert_close(y, x.flatten(1) * model.weights["dense1.weight"] + model.weights["dense1.bias"])


def _tensors(params):
    for value in params.values():
        yield from _tensors(value) if isinstance(value, dict) else (value,)


def dense_model(net: Layer | None = None) -> Model:
    return Model(Sequential(front=net or Identity(), flatten=Flatten(), scores=Dense(3)), input_shape=(1, 4, 4))


def fit(model: Model, run: Path | None) -> None:
    x, y = torch.rand((12, 1, 4, 4), generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
    model.fit(x, y, epochs=1, run=run, verbose=False)


def test_training_a_model_that_could_not_be_loaded_is_refused_before_the_first_step(tmp_path: Path) -> None:
    model = dense_model(nested_layers(140, Sequential))
    initial_hash = model.sha256()
    with pytest.raises(PellucidError, match=r"could be saved, but not loaded again: .* more than 128 levels; make it"):
        fit(model, tmp_path / "run")
    assert model.sha256() == initial_hash
    assert not (tmp_path / "run").exists()
    fit(model, None)
    assert model.sha256() != initial_hash


def test_weights_of_another_dtype_than_the_network_are_refused_before_the_first_step(tmp_path: Path) -> None:
    model = dense_model()
    model.params["scores"]["weight"] = model.params["scores"]["weight"].double()
    with pytest.raises(PellucidError, match=r"not loaded again: scores\.weight is float64 .*, not float32"):
        fit(model, tmp_path / "run")


def test_limits_can_be_raised_for_trusted_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_OUTPUT_VALUES", 15)
    message = "output values for one input, above 15; make it smaller, or raise the limits .* PELLUCID_LIMITS=10"
    with pytest.raises(PellucidError, match=f"not loaded again: .*{message}"):
        fit(dense_model(ReLU()), tmp_path / "run")
    monkeypatch.setenv("PELLUCID_LIMITS", "10")
    fit(dense_model(ReLU()), tmp_path / "run")
    Model.load(tmp_path / "run/weights/best.safetensors")
    monkeypatch.delenv("PELLUCID_LIMITS")
    with pytest.raises(PellucidError, match=message):
        Model.load(tmp_path / "run/weights/best.safetensors")


@pytest.mark.parametrize("value", ["", "many", "0", "0.5", "-3", "nan", "inf"])
def test_an_invalid_limit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PELLUCID_LIMITS", value)
    with pytest.raises(PellucidError, match="PELLUCID_LIMITS must be a number of at least 1, not "):
        init_within_bounds(Identity(), (1, 2, 2))
