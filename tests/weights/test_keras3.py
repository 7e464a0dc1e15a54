"""Keras 3's numbered variables: a file does not tell a norm without beta from one without gamma."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pellucid.models import MODELS, mobilenet_v2
from pellucid.weights import MismatchError, open_weights
from pellucid.weights.kerasfile import name_of
from pellucid.weights.names import load_weights, source_of
from pellucid.weights.names.naming import settle, translate

WRITE = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import keras
forms = {"both": {}, "beta": {"scale": False}, "gamma": {"center": False}, "none": {"scale": False, "center": False}}
y = x = keras.Input((2,))
for name, options in forms.items():
    y = keras.layers.BatchNormalization(name=name, **options)(y)
model = keras.Model(x, y)
values = {"gamma": 2, "beta": 3, "moving_mean": 4, "moving_variance": 5}
for variable in model.variables:
    variable.assign([values[variable.name]] * 2)
model.save_weights(sys.argv[1])
"""


def test_the_norms_that_keras_saves_are_named_as_far_as_the_file_tells(tmp_path: Path) -> None:
    if find_spec("keras") is None:
        pytest.skip("needs keras")
    path = tmp_path / "norms.weights.h5"
    subprocess.run([sys.executable, "-c", WRITE, path], check=True, capture_output=True)
    found = {name.partition("/")[2]: tensor[0].item() for name, tensor in open_weights(path).items()}
    moving = {"moving_mean": 4, "moving_variance": 5}
    assert found == {
        **{f"both/{leaf}": value for leaf, value in ({"gamma": 2, "beta": 3} | moving).items()},
        **{f"beta/{leaf}": value for leaf, value in ({"gamma_or_beta": 3} | moving).items()},
        **{f"gamma/{leaf}": value for leaf, value in ({"gamma_or_beta": 2} | moving).items()},
        **{f"none/{leaf}": value for leaf, value in moving.items()},
    }


@pytest.mark.parametrize("count", [1, 5, 6, 7])
def test_norms_of_other_numbers_of_variables_keep_their_paths(count: int) -> None:
    """Keras' option `renorm` adds three, so that a norm of five has neither gamma nor beta in the first place."""
    path = "layers/batch_normalization/vars/0"
    assert name_of(path, "norm", count) == path


def test_what_is_gamma_or_beta_is_the_beta_of_inception_whose_norms_do_not_scale() -> None:
    net = MODELS["inception_v3"](count_include_pad=False)
    layer = "batch_normalization_7"
    tensors = {
        name_of(f"layers/{layer}/vars/{number}", layer, 3): torch.full((32,), number + 1.0) for number in range(3)
    }
    naming = source_of(net, tensors, "file.h5").naming
    found = settle(naming, [], translate(naming, "inception_v3", tensors)[0])
    assert {path: tensor[0].item() for path, tensor in found.items()} == {
        "features.norm1.weight": 1,
        "features.norm1.bias": 1,
        "features.norm1.running_mean": 2,
        "features.norm1.running_var": 3,
    }


def test_a_norm_of_three_variables_is_refused_where_the_network_scales(tmp_path: Path) -> None:
    path = tmp_path / "mobile.weights.h5"
    layers = {"conv2d": ("Conv1", [(3, 3, 3, 16)]), "batch_normalization": ("bn_Conv1", [(16,)] * 3)}
    with h5py.File(path, "w") as file:
        for kind, (name, shapes) in layers.items():
            variables = file.create_group(f"layers/{kind}/vars")
            variables.attrs["name"] = name
            for number, shape in enumerate(shapes):
                variables.create_dataset(str(number), data=np.full(shape, 7, np.float32))
    net = mobilenet_v2(classes=7, width=0.35, epsilon=1e-3, pad="same")
    params, _ = net.init((3, 64, 64), torch.Generator().manual_seed(0))
    with pytest.raises(
        MismatchError, match=r"^\S+/mobile.weights.h5 does not fit the network: .* is missing"
    ) as caught:
        load_weights(net, params, path, "features")
    assert "\n" not in str(caught.value)
    assert "features.stem.norm.weight" in {one.path for one in caught.value.mismatches}
