"""HDF5 files of Keras 1 to 3, and refused HDF5 features that weights files do not need."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import data_root
from pellucid.models import MODELS, mobilenet_v2
from pellucid.weights import MismatchError, open_weights, require_match
from pellucid.weights.kerasfile import keras_name
from pellucid.weights.names import load_weights, source_of
from pellucid.weights.names.naming import fit_architecture, translate
from tests.weights.conftest import OpenRefused
from tests.weights.damage import damaged_copies

KERNEL = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)  # (H, W, in, out)


def write_layer(file: h5py.Group, name: str) -> None:
    """Write a layer with kernel and bias in the layout of Keras 1 and 2."""
    group = file.create_group(name)
    group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
    group.create_dataset(f"{name}/kernel:0", data=KERNEL)
    group.create_dataset(f"{name}/bias:0", data=np.zeros(2, np.float32))


def test_file_of_keras_applications_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"input", b"conv"]
        file.create_group("input").attrs["weight_names"] = np.array([], "S1")
        write_layer(file, "conv")
    tensors = open_weights(tmp_path / "a.h5")
    assert list(tensors) == ["conv/conv/bias:0", "conv/conv/kernel:0"]
    assert torch.equal(tensors["conv/conv/kernel:0"], torch.tensor(KERNEL))


def test_only_the_weights_of_a_model_file_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["model_config"] = "{}"
        write_layer(file.create_group("model_weights"), "conv")
        file.create_group("optimizer_weights").create_dataset("Adam/m", data=KERNEL)
    assert list(open_weights(tmp_path / "a.h5")) == ["conv/conv/bias:0", "conv/conv/kernel:0"]


def test_file_of_keras_3_with_bfloat16_is_read(tmp_path):
    """Keras 3 writes bfloat16 as two opaque bytes with an attribute (H5IOStore in keras/src/saving/saving_lib.py)."""
    values = torch.tensor([1.0, -2.5, 3e30], dtype=torch.bfloat16)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables.attrs["name"] = "entry"
        variables.create_dataset("0", data=KERNEL)
        bfloat16_dataset = variables.create_dataset("1", data=values.view(torch.int16).numpy().view("V2"))
        bfloat16_dataset.attrs["dtype"] = "bfloat16"
        file.create_dataset("seed/vars/0", data=np.array([1, 2**32 - 1], np.uint32))
        file.create_dataset("optimizer/vars/0", data=KERNEL)
    tensors = open_weights(tmp_path / "a.weights.h5")
    assert list(tensors) == ["entry/entry/kernel", "entry/entry/bias", "seed/vars/0"]
    assert torch.equal(tensors["entry/entry/bias"], values)
    assert tensors["seed/vars/0"].tolist() == [1, 2**32 - 1]


NORM_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.mark.parametrize(
    ("layer_path", "count", "names"),
    [
        ("layers/dense_1", 2, ["it/it/kernel", "it/it/bias"]),
        ("layers/depthwise_conv2d", 1, ["it/it/kernel"]),
        ("layers/batch_normalization_12", 4, [f"it/it/{leaf}" for leaf in NORM_VARIABLES]),
        ("layers/batch_normalization", 3, [f"it/it/{leaf}" for leaf in ("gamma_or_beta", *NORM_VARIABLES[2:])]),
        ("layers/batch_normalization", 2, [f"it/it/{leaf}" for leaf in NORM_VARIABLES[2:]]),
        ("layers/functional/layers/conv2d_3", 2, ["it/it/kernel", "it/it/bias"]),
        ("conv2d", 3, ["it/it/kernel", "it/it/bias", "conv2d/vars/2"]),
        ("layers/lstm", 2, ["layers/lstm/vars/0", "layers/lstm/vars/1"]),
    ],
)
def test_numbered_variables_of_keras_3_get_the_names_of_their_layers(layer_path, count, names, tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        variables = file.create_group(f"{layer_path}/vars")
        variables.attrs["name"] = "it"
        for number in range(count):
            variables.create_dataset(str(number), data=np.full(2, number, np.float32))
    tensors = open_weights(tmp_path / "a.weights.h5")
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        name: [number, number] for number, name in enumerate(names)
    }


@pytest.mark.parametrize(
    "name",
    [None, 7, ["a", "b"], np.bytes_(b"a" * 1000), "a" * 1000, "a\nb", "", h5py.Empty("f4")],
    ids=lambda name: repr(name)[:20],
)
def test_tensors_of_layers_without_a_valid_name_keep_their_paths(name, tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=KERNEL)
        if name is not None:
            file["layers/conv2d/vars"].attrs["name"] = name
    assert list(open_weights(tmp_path / "a.weights.h5")) == ["layers/conv2d/vars/0"]


def test_damaged_files_of_keras_3_are_refused(tmp_path):
    """HDF5 has no checksum here, so damage inside tensor data only changes values."""
    path, refusals = tmp_path / "a.weights.h5", []
    layers = {"conv2d": ("entry", [(3, 3, 3, 4), (4,)]), "batch_normalization": ("norm", [(4,)] * 4)}
    with h5py.File(path, "w") as file:
        for kind, (name, shapes) in layers.items():
            variables = file.create_group(f"layers/{kind}/vars")
            variables.attrs["name"] = name
            for number, shape in enumerate(shapes):
                variables.create_dataset(str(number), data=np.ones(shape, np.float32))
    expected, intact = open_weights(path), path.read_bytes()
    for data in damaged_copies(intact, 200, seed=3):
        path.write_bytes(data)
        try:
            require_match(path, expected, open_weights(path))
        except PellucidError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(text.startswith(str(path)) and "\n" not in text for text in refusals)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtypes_and_shapes_are_read(dtype, shape, tmp_path):
    array = np.arange(6).astype(dtype)[: int(np.prod(shape))].reshape(shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=array)
        file.create_dataset("b", data=KERNEL)
    tensors = open_weights(tmp_path / "a.h5")["a"]
    assert tuple(tensors.shape) == shape
    assert tensors.dtype == torch.from_numpy(np.zeros(1, array.dtype.newbyteorder("="))).dtype
    assert tensors.tolist() == array.tolist()


def _external_link(file: h5py.File) -> None:
    file["out"] = h5py.ExternalLink("/etc/passwd", "/")


def _external_root(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["w"] = KERNEL
    file["model_weights"] = h5py.ExternalLink("other.h5", "/")


def _soft_link(file: h5py.File) -> None:
    file["soft"] = h5py.SoftLink("/kernel")


def _cycle(file: h5py.File) -> None:
    file["a/b/c"] = KERNEL
    file["a/b/again"] = file["a"]


def _external_data(file: h5py.File) -> None:
    file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((54,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (54,))
    file.create_virtual_dataset("a", layout)


def _huge_and_empty(file: h5py.File) -> None:
    file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 20,))


def _huge_and_contiguous(file: h5py.File) -> None:
    file.create_dataset("a", (1 << 40,), "f4")


def _compressed(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros(1 << 20, "f4"), compression="gzip")


def _checksummed(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros(100, "f4"), fletcher32=True)


def _references(file: h5py.File) -> None:
    file.create_dataset("a", data=[file.ref], dtype=h5py.ref_dtype)


def _texts(file: h5py.File) -> None:
    file.create_dataset("a", data=["text"], dtype=h5py.string_dtype())


def _records(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros(3, [("x", "f4"), ("y", "i4")]))


def _complex(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros(3, "c8"))


def _opaque(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros(3, "V2"))


def _null_dataset(file: h5py.File) -> None:
    file.create_dataset("a", data=h5py.Empty("f4"))


def _a_named_type(file: h5py.File) -> None:
    file["a"] = np.dtype("f4")


def _deep_groups(file: h5py.File) -> None:
    file["/".join("g" * 60)] = KERNEL


def _no_weights(file: h5py.File) -> None:
    file.create_group("a")


def _weights_that_are_no_group(file: h5py.File) -> None:
    file["model_weights"] = KERNEL


def _duplicate_names(file: h5py.File) -> None:
    for layer_path in ("conv2d", "conv2d_1"):
        file.create_dataset(f"layers/{layer_path}/vars/0", data=KERNEL)
        file[f"layers/{layer_path}/vars"].attrs["name"] = "same"


HOSTILE_WRITERS: list[tuple[Callable[[h5py.File], None], str]] = [
    (_external_link, "has a link at out, possibly to another file"),
    (_external_root, "has a link at model_weights, possibly to another file"),
    (_soft_link, "has a link at soft"),
    (_cycle, "has a cycle"),
    (_external_data, "with filters or in another file"),
    (_virtual, "with filters or in another file"),
    (_huge_and_empty, "in chunks"),
    (_huge_and_contiguous, "declares 4398046511104 bytes at a that it does not contain"),
    (_compressed, "in chunks, with filters"),
    (_checksummed, "in chunks, with filters"),
    (_references, "which weights cannot have"),
    (_texts, "which weights cannot have"),
    (_records, "which weights cannot have"),
    (_complex, "which weights cannot have"),
    (_opaque, "which weights cannot have"),
    (_null_dataset, "; load it in Keras"),
    (_a_named_type, "an object that is not an array at a"),
    (_deep_groups, "too many levels"),
    (_no_weights, "contains no weights"),
    (_weights_that_are_no_group, "has no group of weights"),
    (_duplicate_names, "contains two tensors called same/same/kernel; give the model's layers"),
]


@pytest.mark.parametrize(("write_hostile", "message"), HOSTILE_WRITERS)
def test_hdf5_features_that_keras_never_writes_are_refused(write_hostile, message, tmp_path, open_refused: OpenRefused):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_hostile(file)
    assert message in open_refused(tmp_path / "a.h5")


def test_overlapping_arrays_larger_than_the_file_are_refused(tmp_path, open_refused: OpenRefused):
    """Two hundred arrays of 400 kB whose headers all have the same address."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["big"] = np.arange(100_000, dtype=np.float32)
        first_offset = file["big"].id.get_offset()
        for k in range(200):
            file[f"a{k:03}"] = np.zeros(2, np.float32)
        offsets = [file[f"a{k:03}"].id.get_offset() for k in range(200)]

    def encoded(*values: int) -> bytes:
        return b"".join(value.to_bytes(8, "little") for value in values)

    data = path.read_bytes()
    for offset in offsets:
        assert data.count(encoded(offset, 8)) == 1  # address and size of the array's data
        data = data.replace(encoded(offset, 8), encoded(first_offset, 400_000))
    space = b"\1\1\1\0\0\0\0\0"  # header of a shape with one axis, before its size and maximum size
    assert data.count(space + encoded(2, 2)) == 200
    path.write_bytes(data.replace(space + encoded(2, 2), space + encoded(100_000, 100_000)))
    assert "declares more data than its" in open_refused(path)


def test_error_without_h5py_says_how_to_install_it(tmp_path, monkeypatch: pytest.MonkeyPatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = KERNEL
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(PellucidError, match=r"needs the h5py library; pip install 'pellucid\[weights\]'"):
        open_weights(tmp_path / "a.h5")


@pytest.mark.real
def test_the_published_mobilenet_v2_without_head_is_read():
    path: Path = data_root() / "weights" / "mobilenet_v2_imagenet_no_top.h5"
    if not path.exists():
        pytest.skip(f"the real weights are not at {path}")
    tensors = open_weights(path)
    assert sum(tensor.numel() for tensor in tensors.values()) == 2_257_984  # the parameter count of Keras
    assert tensors["Conv1/Conv1/kernel:0"].shape == (3, 3, 3, 32)
    assert tensors["Conv_1/Conv_1/kernel:0"].shape == (1, 1, 320, 1280)
    variances = [tensor for name, tensor in tensors.items() if name.endswith("moving_variance:0")]
    assert len(variances) == 52
    assert all(bool((tensor >= 0).all()) for tensor in variances)


KERAS_NORMS_SCRIPT = """
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


@pytest.mark.heavy
@pytest.mark.slow
def test_norms_without_gamma_or_beta_are_read_with_their_names(tmp_path: Path) -> None:
    if find_spec("keras") is None:
        pytest.skip("needs keras")
    path = tmp_path / "norms.weights.h5"
    subprocess.run([sys.executable, "-c", KERAS_NORMS_SCRIPT, path], check=True, capture_output=True)
    result = {name.partition("/")[2]: tensor[0].item() for name, tensor in open_weights(path).items()}
    moving = {"moving_mean": 4, "moving_variance": 5}
    assert result == {
        **{f"both/{leaf}": value for leaf, value in ({"gamma": 2, "beta": 3} | moving).items()},
        **{f"beta/{leaf}": value for leaf, value in ({"gamma_or_beta": 3} | moving).items()},
        **{f"gamma/{leaf}": value for leaf, value in ({"gamma_or_beta": 2} | moving).items()},
        **{f"none/{leaf}": value for leaf, value in moving.items()},
    }


@pytest.mark.parametrize("count", [1, 5, 6, 7])
def test_norms_with_an_unknown_number_of_variables_keep_their_paths(count: int) -> None:
    """With `renorm`, Keras adds three variables, so the first of five variables is neither gamma nor beta."""
    path = "layers/batch_normalization/vars/0"
    assert keras_name(path, "norm", count) == path


def test_gamma_or_beta_is_loaded_as_beta_for_inception() -> None:
    net = MODELS["inception_v3"](count_include_pad=False)
    layer = "batch_normalization_7"
    tensors = {
        keras_name(f"layers/{layer}/vars/{number}", layer, 3): torch.full((32,), number + 1.0) for number in range(3)
    }
    naming = source_of(net, tensors, "file.h5").naming
    fitted_tensors = fit_architecture(naming, [], translate(naming, "inception_v3", tensors)[0])
    assert {path: tensor[0].item() for path, tensor in fitted_tensors.items()} == {
        "features.norm1.weight": 1,
        "features.norm1.bias": 1,
        "features.norm1.running_mean": 2,
        "features.norm1.running_var": 3,
    }


def test_norm_with_three_variables_is_refused_if_the_network_has_gamma(tmp_path: Path) -> None:
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
    with pytest.raises(MismatchError, match=r"^\S+/mobile.weights.h5 does not fit the network: .* is missing") as info:
        load_weights(net, params, path, "features")
    assert "\n" not in str(info.value)
    assert "features.stem.norm.weight" in {mismatch.path for mismatch in info.value.mismatches}
