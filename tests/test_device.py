"""Everything is computed on the device of its inputs: on "meta", which has no values, and on each available GPU."""

import pytest
import torch

from pellucid.combine import Parallel, Sequential
from pellucid.data import Batch
from pellucid.explain import METHODS, explain
from pellucid.fuse.inference import inference
from pellucid.layers import (
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    MaxPool2d,
    ReLU,
    RoIAlign,
    RoIPool,
)
from pellucid.layers.base import Mode
from pellucid.losses import Focal, NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import lenet
from pellucid.nested import flatten
from pellucid.objective import Supervised, seeded_generator
from pellucid.optim import OPTIMIZERS, SGD, Adam, MaxNorm
from pellucid.optim.regularizers import L1, L2
from pellucid.tasks.segment.segmenter import Segmenter
from pellucid.trace import PassSettings
from pellucid.training.device import on_device
from pellucid.training.step import TrainingStep
from tests.cases import each, each_sample
from tests.layers.samples import SAMPLES
from tests.losses.cases import CASES
from tests.oracle import cast

DEVICES = ["meta"]
DEVICES += ["cuda"] if torch.cuda.is_available() else []
DEVICES += ["mps"] if torch.backends.mps.is_available() else []
each_device = pytest.mark.parametrize("device", [torch.device(name) for name in DEVICES], ids=str)


def iter_tensors(value):
    """Yield every tensor in nested dicts, tuples and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from iter_tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from iter_tensors(part)


def check_device(device, *values):
    result = list(iter_tensors(values))
    assert result
    assert {tensor.device.type for tensor in result} == {device.type}


def reads_values(layer):
    """Return whether shapes in the forward pass depend on values, which tensors on "meta" do not have."""
    return isinstance(layer, RoIPool) or (isinstance(layer, RoIAlign) and not layer.sampling)


@each_device
@each_sample(SAMPLES)
def test_layers_compute_on_the_given_device(sample, device):
    if device.type == "meta" and reads_values(sample.layer):
        return
    params, x = (on_device(cast(value, torch.float32), device) for value in sample.inputs())
    for mode in (Mode(True, seeded_generator(device)), Mode()):
        y, cache = sample.layer.forward(params, x, mode)
        dy = tuple(map(torch.ones_like, y)) if isinstance(y, tuple) else torch.ones_like(y)
        dx, dparams = sample.layer.backward(params, cache, dy)
        check_device(device, y, cache, dx, dparams, params)


@each_device
@each("name", CASES)
def test_losses_compute_on_the_given_device(name, device):
    loss, y, target = CASES[name][:3]
    y, target = on_device((y.float(), target), device)
    check_device(device, *loss(y, target), loss.predict(y))


@each_device
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_compute_on_the_given_device(name, device):
    params = [torch.ones(3, 4, device=device), torch.ones(4, device=device)]
    optimizer = OPTIMIZERS[name]()
    state = optimizer.init(params)
    optimizer.decay(params, 0.1)
    optimizer.update(params, [torch.ones_like(param) for param in params], state, 0.1)
    check_device(device, params, *(entry for entry in state.values() if not isinstance(entry, int)))


def conv_net():
    return Sequential(
        conv=Conv2d(4, 3, padding=1, bias=False), norm=BatchNorm(), relu=ReLU(), pool=MaxPool2d(2), flat=Flatten(),
        drop=Dropout(0.5), dense=Dense(3),
    )  # fmt: skip


def small_unet():
    """Return a U-Net of one level, which outputs logits (N, 3, H, W)."""
    deeper = Sequential(down=MaxPool2d(2), conv=Conv2d(4, 3, padding=1), act=ReLU(), up=ConvTranspose2d(4, 2, stride=2))
    level = Parallel({"skip": Identity(), "deeper": deeper}, Concat())
    return Sequential(start=Conv2d(4, 3, padding=1), level=level, scores=Conv2d(3, 1))


TRAINING_STEPS = {
    "in the sweep": (conv_net, SGD(0.1), {"regularizers": (L2(0.1),)}),
    "adam, clipped, with penalties": (conv_net, Adam(), {"clip": 1.0, "regularizers": (L1(0.1), MaxNorm(1.0))}),
    "frozen": (conv_net, Adam(), {"frozen": {"conv.weight", "norm.weight", "norm.bias"}}),
    "rates": (conv_net, Adam(), {"rates": {"conv.weight": 0.1}}),
    "lenet": (lenet, SGD(0.1), {}),
    "masks": (small_unet, Adam(), {}),
}


@each_device
@pytest.mark.parametrize("name", TRAINING_STEPS)
def test_a_training_step_computes_on_the_given_device(name, device, monkeypatch):
    make, optimizer, options = TRAINING_STEPS[name]
    net, shape = make(), (1, 28, 28)
    params, out = net.init(shape, torch.Generator().manual_seed(0))
    params = on_device(params, device)
    step = TrainingStep(Supervised(net, SoftmaxCrossEntropy()), params, optimizer, examples=10, **options)
    target = torch.zeros(4, *out[1:], dtype=torch.int64, device=device)
    batch = Batch(torch.ones(4, *shape, device=device), target)

    def fail_on_wait(tensor):
        raise AssertionError("the step waits for the device")

    monkeypatch.setattr(torch.Tensor, "item", fail_on_wait)
    with torch.inference_mode():
        for _ in range(2):
            losses = step(batch, 0.1, seeded_generator(device))
    check_device(device, losses, flatten(params), [tensor for _, _, tensor in step.state_tensors()] or losses)


@each_device
@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, Focal, NegativeLogLikelihood])
@pytest.mark.parametrize("options", [{"ignore": 2}, {"class_weights": (1.0, 2.0, 0.5)}, {}], ids=str)
def test_the_weight_of_a_batch_is_on_the_device_unless_it_depends_only_on_the_shape(kind, options, device, monkeypatch):
    def fail_on_read(*_):
        raise AssertionError("the weight of the batch is read from the device")

    objective = Supervised(Dense(3), kind(**options))
    target = torch.tensor([[0, 1, 2], [2, 1, 1]])
    images = torch.ones(2, 4)
    expected = {"ignore": 4.0, "class_weights": 1 + 3 * 2.0 + 2 * 0.5}.get(next(iter(options), ""), 2.0)
    assert objective.total_weight(Batch(images, target)) == expected
    device_batch = Batch(*on_device((images, target), device))
    with monkeypatch.context() as patch:
        for name in ("item", "__float__", "__int__", "__bool__", "tolist", "nonzero"):
            patch.setattr(torch.Tensor, name, fail_on_read)
        actual = objective.total_weight(device_batch)
    assert isinstance(actual, torch.Tensor) == bool(options)
    if options:
        assert (actual.device.type, actual.shape) == (device.type, ())
        assert device.type == "meta" or float(actual) == expected


@each_device
def test_a_segmenter_computes_on_the_given_device(device, monkeypatch):
    net = small_unet()
    params, _ = net.init((1, 12, 12), torch.Generator().manual_seed(0))
    model = Model(net, input_shape=(1, 12, 12), classes=3)
    model.params, model.device = on_device(params, device), device
    segmenter, run = Segmenter(model), inference(net, model.params)

    def run_on_device(x):
        check_device(device, x, run(x))
        return torch.zeros(1, 3, 12, 12) if device.type == "meta" else run(x)

    monkeypatch.setattr(segmenter, "_forward", run_on_device)
    result = segmenter(torch.zeros(1, 12, 12, dtype=torch.uint8))
    check_device(torch.device("cpu"), result.mask, result.probabilities)


@each_device
@pytest.mark.parametrize("method", [method for method in METHODS if method != "rollout"])  # rollout needs attention
def test_explanations_compute_on_the_given_device(method, device):
    net, shape = conv_net(), (1, 12, 12)
    params, _ = net.init(shape, torch.Generator().manual_seed(0))
    x = torch.ones(2, *shape, device=device)
    options = {"composite": "epsilon"} if method == "lrp" else {}  # other composites need the signs of the input
    check_device(device, explain(net, on_device(params, device), x, method, "dense[1]", **options))


@each_device
def test_the_passes_of_a_trace_compute_on_the_given_device(device):
    net, shape = conv_net(), (1, 12, 12)
    params, _ = net.init(shape, torch.Generator().manual_seed(0))
    target = torch.zeros(2, dtype=torch.int64)
    settings = PassSettings(
        net, params, torch.ones(2, *shape), target, SoftmaxCrossEntropy(), train=True, device=device
    )
    passes = settings.run()
    value, dy = settings.loss_of(passes.y)
    dx, dparams = passes.backward(dy)
    check_device(device, value, dx, dparams, [(call.y, call.cache, call.dys, call.params) for call in passes.calls])


@pytest.mark.skipif(len(DEVICES) == 1, reason="this machine has no GPU")
def test_a_trace_of_a_gpu_is_explained_on_the_cpu():
    model = Model(conv_net(), input_shape=(1, 12, 12), classes=3, device=DEVICES[-1])
    dtype = torch.float32 if DEVICES[-1] == "mps" else torch.float64
    trace = model.trace(torch.rand(2, 1, 12, 12), torch.tensor([0, 2]), dtype=dtype, train=True)
    check_device(torch.device("cpu"), [tensor.tensor for tensor in trace.tensors.values()])
    assert trace.explain("dense.weight").links[0].count == 2
    assert trace.nudge("dense.bias", 1e-2).actual != 0
    assert trace.step(SGD(0.1)).after != trace.loss
