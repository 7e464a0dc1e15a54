"""Names and layouts of Keras: converted arrays computed by hand, and files that Keras has written."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data import data_root
from pellucid.layers import Mode
from pellucid.models import MODELS, features, mobilenet_v2
from pellucid.weights import open_weights
from pellucid.weights.names import load_weights, source_of
from pellucid.weights.names.naming import KERAS_DIALECT, fit_architecture, translate


@pytest.mark.parametrize(
    ("name", "layer", "leaf"),
    [
        ("block1_conv1/block1_conv1_W_1:0", "block1_conv1", "weight"),
        ("block1_conv1/block1_conv1_b_1:0", "block1_conv1", "bias"),
        ("Conv1/Conv1/kernel:0", "Conv1", "weight"),
        ("block_1_depthwise/block_1_depthwise/depthwise_kernel:0", "block_1_depthwise", "weight"),
        ("conv1/bn/conv1/bn/moving_variance:0", "conv1/bn", "running_var"),
        ("mobilenetv2_1.00_224/bn_Conv1/moving_mean:0", "bn_Conv1", "running_mean"),
        ("densenet121/conv1/conv/kernel:0", "conv1/conv", "weight"),
        ("conv2d_7/conv2d_7/kernel", "conv2d_7", "weight"),
        ("batch_normalization_7/batch_normalization_7/beta:0", "batch_normalization_7", "bias"),
    ],
)
def test_keras_names_of_all_versions_are_split(name, layer, leaf):
    assert KERAS_DIALECT.split(name) == (layer, leaf)


@pytest.mark.parametrize("name", ["kernel:0", "Conv1/Conv1/iterations:0", "layers/conv2d/vars/0", ""])
def test_invalid_names_are_not_split(name):
    assert KERAS_DIALECT.split(name) is None


def test_kernel_axes_are_converted():
    kernel = torch.arange(2 * 3 * 5 * 7.0).reshape(2, 3, 5, 7)  # (H, W, in, out)
    converted = KERAS_DIALECT.layout("features.stem.conv", kernel, 0)
    assert converted.shape == (7, 5, 2, 3)
    assert converted[6, 4, 1, 2] == kernel[1, 2, 4, 6]


def test_depthwise_kernel_axes_are_converted():
    kernel = torch.arange(2 * 3 * 5.0).reshape(2, 3, 5, 1)  # (H, W, channels, 1)
    converted = KERAS_DIALECT.layout("features.stage1.block1.body.depthwise", kernel, 0)
    assert converted.shape == (5, 1, 2, 3)
    assert converted[4, 0, 1, 2] == kernel[1, 2, 4, 0]


def test_rows_of_a_dense_kernel_over_maps_are_ordered_by_channel():
    """Keras' row h W C + w C + c is column c H W + h W + w in pellucid."""
    kernel = torch.arange(2 * 2 * 3 * 5.0).reshape(12, 5)
    converted = KERAS_DIALECT.layout("head.dense1", kernel, 3)
    assert converted.shape == (5, 12)
    assert [float(value) for value in converted[0] / 5] == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    assert torch.equal(KERAS_DIALECT.layout("head.dense2", kernel, 3), kernel.T)


def test_a_bias_before_a_norm_is_subtracted_from_the_running_mean():
    net = MODELS["resnet50"](epsilon=1.001e-5, stride_first=True)
    tensors = {
        "conv1_conv/conv1_conv/kernel:0": torch.zeros(7, 7, 3, 2),
        "conv1_conv/conv1_conv/bias:0": torch.tensor([1.0, -2.0]),
        "conv1_bn/conv1_bn/moving_mean:0": torch.tensor([10.0, 10.0]),
        "conv2_block1_0_conv/conv2_block1_0_conv/bias:0": torch.tensor([3.0]),
        "conv2_block1_0_bn/conv2_block1_0_bn/moving_mean:0": torch.tensor([0.5]),
    }
    naming = source_of(net, tensors, "file.h5").naming
    shortcut = "features.stage1.block1.residual.shortcut.norm.running_mean"
    expected = ["features.stem.conv.weight", "features.stem.norm.running_mean", shortcut]
    fitted_tensors = fit_architecture(naming, expected, translate(naming, "resnet50", tensors)[0])
    assert sorted(fitted_tensors) == sorted(expected)
    assert fitted_tensors["features.stem.norm.running_mean"].tolist() == [9.0, 12.0]
    assert fitted_tensors[shortcut].tolist() == [-2.5]
    assert tensors["conv1_bn/conv1_bn/moving_mean:0"].tolist() == [10.0, 10.0]


@pytest.mark.parametrize("first_number", [0, 1, 94])
def test_inception_layers_are_numbered_from_the_first_number_in_the_file(first_number):
    """In Keras, the fifth layer is a 3x3 convolution of 192 filters, and the sixth is branch1x1 of mixed0."""
    numbers = range(first_number, first_number + 94)
    names = {
        f"{layer}{f'_{number}' if number else ''}/{layer}{f'_{number}' if number else ''}/{leaf}": torch.zeros(shape)
        for number in numbers
        for layer, leaf, shape in (("conv2d", "kernel:0", (1, 1, 1, 1)), ("batch_normalization", "beta:0", (1,)))
    }
    net = MODELS["inception_v3"](count_include_pad=False)
    source = source_of(net, names, "file.h5")
    result = list(translate(source.naming, "inception_v3", names)[0])
    assert result[0:2] == ["features.conv1.weight", "features.norm1.bias"]
    assert result[8:12] == [
        "features.conv5.weight",
        "features.norm5.bias",
        "features.mixed5b.branch1x1.conv1.weight",
        "features.mixed5b.branch1x1.norm1.bias",
    ]
    assert result[-1] == "features.mixed7c.branch_pool.norm.bias"


def test_norms_that_do_not_scale_get_a_weight_of_one():
    net = MODELS["inception_v3"](count_include_pad=False)
    tensors = {
        f"batch_normalization/batch_normalization/{leaf}:0": torch.full((32,), 2.0)
        for leaf in ("beta", "moving_mean", "moving_variance")
    }
    naming = source_of(net, tensors, "file.h5").naming
    fitted_tensors = fit_architecture(naming, [], translate(naming, "inception_v3", tensors)[0])
    assert fitted_tensors["features.norm1.weight"].tolist() == [1.0] * 32


WRITE_SCRIPT = """
import sys, numpy as np, keras
from keras.applications import MobileNetV2
model = MobileNetV2(weights=None, alpha=0.35, input_shape=(64, 64, 3), classes=7, classifier_activation=None)
rng = np.random.default_rng(0)
for variable in model.variables:
    value = 0.1 * rng.standard_normal(variable.shape)
    variable.assign(np.abs(value) + 0.5 if variable.path.endswith("variance") else value)
inputs = rng.standard_normal((2, 64, 64, 3)).astype("float32")
np.savez(sys.argv[2], x=inputs, y=np.asarray(model.predict(inputs, verbose=0)))
model.save(sys.argv[1] + "/small.h5")
model.save_weights(sys.argv[1] + "/small.weights.h5")
# As people do it: the network as one layer of their own model.
model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Rescaling(1.0), model])
model.save_weights(sys.argv[1] + "/transfer.weights.h5")
"""

PREDICT_SCRIPT = """
import sys, numpy as np, keras
from keras.applications import MobileNetV2
model = MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
model.load_weights(sys.argv[1])
inputs = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
np.savez(sys.argv[2], x=inputs, y=np.asarray(model.predict(inputs, verbose=0)))
"""


def run_keras(script: str, weights: Path, folder: Path, backend: str) -> tuple[Tensor, Tensor]:
    """Run a script with Keras and a backend; return its images (N, C, H, W) and its outputs."""
    if find_spec("keras") is None or find_spec(backend) is None:
        pytest.skip(f"needs keras and {backend}")
    file = folder / "numbers.npz"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", script, weights, file], env=environment, check=True, capture_output=True)
    loaded = np.load(file)
    return torch.tensor(loaded["x"]).permute(0, 3, 1, 2), torch.tensor(loaded["y"])


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, Tensor]:
    """Return a folder with files of one Keras network, images, and the network's outputs."""
    folder = tmp_path_factory.mktemp("keras")
    return folder, *run_keras(WRITE_SCRIPT, folder, folder, "torch")


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("file", ["small.h5", "small.weights.h5", "transfer.weights.h5"])
def test_a_file_saved_by_keras_reproduces_its_outputs(file, keras_files):
    folder, x, y = keras_files
    net = mobilenet_v2(classes=7, width=0.35, epsilon=1e-3, pad="same")
    params, _ = net.init((3, 64, 64), torch.Generator().manual_seed(0))
    loaded = load_weights(net, params, folder / file)
    with torch.no_grad():
        logits, _ = net.forward(loaded, x, Mode())
    assert float((logits - y).abs().max()) < 1e-5 * float(y.abs().max())


@pytest.mark.heavy
@pytest.mark.real
# jax: kernels other than PyTorch's
@pytest.mark.parametrize("backend", [pytest.param("torch", marks=pytest.mark.long), "jax"])
def test_real_mobilenet_v2_outputs_equal_those_of_keras(tmp_path, backend):
    path = data_root() / "weights" / "mobilenet_v2_imagenet_no_top.h5"
    if not path.exists():
        pytest.skip(f"the real weights are not at {path}")
    x, y = run_keras(PREDICT_SCRIPT, path, tmp_path, backend)  # (2, 3, 3, 1280)
    net = mobilenet_v2(epsilon=1e-3, pad="same")
    params, _ = net.init((3, 96, 96), torch.Generator().manual_seed(0))
    loaded = load_weights(net, params, path, "features")
    with torch.no_grad():
        maps, _ = features(net).forward(loaded["features"], x, Mode())
    assert loaded["head"] is params["head"]
    assert maps.shape == (2, 1280, 3, 3)
    assert float((maps - y.permute(0, 3, 1, 2)).abs().max()) < 1e-4 * float(y.abs().max())  # 52 layers in float32
    assert float(y.abs().max()) > 1  # outputs of trained weights are not close to 0
    assert len(open_weights(path)) == 260
