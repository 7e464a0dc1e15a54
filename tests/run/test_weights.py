"""Weights files: exact restoring, and detection of any damage or forged contents."""

import hashlib
import json
import os
import random
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.run import weights
from pellucid.run.weights import read_weights, weights_sha256, write_weights

DESCRIPTION = {"network": {"type": "ReLU"}, "classes": ["a", "ü"], "n": 3}


def sample_tensors():
    return {
        "b.weight": torch.arange(6.0).reshape(2, 3),
        "a": torch.tensor(7),
        "c": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "d": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 4),
    }


def test_tensors_and_description_are_restored(tmp_path):
    write_weights(tmp_path / "w", sample_tensors(), DESCRIPTION)
    result, about = read_weights(tmp_path / "w")
    assert about == DESCRIPTION
    assert {name: (t.shape, t.dtype) for name, t in result.items()} == {
        n: (t.shape, t.dtype) for n, t in sample_tensors().items()
    }
    assert torch.equal(result["b.weight"], sample_tensors()["b.weight"])


@pytest.mark.parametrize("value", [float("nan"), [1, float("inf")], {"a": object()}])
def test_a_description_that_json_cannot_store_is_refused_and_the_file_is_unchanged(tmp_path, value):
    write_weights(tmp_path / "w", sample_tensors(), DESCRIPTION)
    with pytest.raises(PellucidError, match="w cannot be written: "):
        write_weights(tmp_path / "w", sample_tensors(), {**DESCRIPTION, "bad": value})
    assert read_weights(tmp_path / "w")[1] == DESCRIPTION


def test_any_safetensors_reader_opens_the_file(tmp_path):
    written = sample_tensors()
    write_weights(tmp_path / "w", written, DESCRIPTION)
    with safe_open(tmp_path / "w", "pt") as file:
        assert file.metadata()["format"] == "pellucid/1"
        assert torch.equal(file.get_tensor("c"), written["c"])


def test_the_hash_of_weights_is_the_sha256_of_sorted_names_dtypes_shapes_and_bytes():
    digest = hashlib.sha256()
    weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    for text in (b"dense.bias", b"float32 1"):
        digest.update(struct.pack("<Q", len(text)) + text)
    digest.update(struct.pack("<f", 0.5))
    for text in (b"dense.weight", b"float32 1x2"):
        digest.update(struct.pack("<Q", len(text)) + text)
    digest.update(struct.pack("<ff", 1.0, -2.0))
    assert weights_sha256({"dense": {"weight": weight, "bias": bias}}) == digest.hexdigest()


def test_the_hash_does_not_depend_on_the_memory_format():
    x = torch.randn(2, 3, 4, 5)
    assert weights_sha256({"x": x}) == weights_sha256({"x": x.to(memory_format=torch.channels_last)})


def small_model():
    return Model(mlp((4, 3, 2)), input_shape=(4,), classes=["no", "yes"])


def test_300_corrupt_files_are_refused_in_one_line_or_have_the_same_weights(tmp_path):
    original = small_model()
    path = tmp_path / "model.safetensors"
    original.save(path)
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little") + 8
    rng = random.Random(1)
    messages = []
    for trial in range(300):
        changed = bytearray(data)
        kind = trial % 5
        if kind == 0:  # flips a bit anywhere
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        elif kind == 1:  # flips a bit of the header
            changed[rng.randrange(header)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[rng.randrange(len(changed)) :]
        elif kind == 3:  # replaces a byte of the header by a printable character
            changed[rng.randrange(8, header)] = rng.randrange(32, 127)
        else:  # inserts bytes
            position = rng.randrange(len(changed))
            changed[position:position] = rng.randbytes(rng.randrange(1, 9))
        path.write_bytes(changed)
        try:
            loaded = Model.load(path)
        except PellucidError as error:
            messages.append(str(error))
        else:
            assert loaded.sha256() == original.sha256()
            assert loaded.net == original.net
            assert loaded.classes == original.classes
    assert len(messages) > 290  # the new character can be equal to the old one
    assert all(len(message.splitlines()) == 1 and str(path) in message for message in messages)


def rewrite_file(path, change):
    """Rewrite the file with changed tensors or description and a matching SHA-256."""
    tensors, about = read_weights(path)
    change(tensors, about)
    write_weights(path, tensors, about)


FORGERIES = {
    "is missing": lambda t, a: t.pop("features.dense1.bias"),
    "is not in the network": lambda t, a: t.update(more=torch.zeros(1)),
    "is float32 2x4, not float32 3x4": lambda t, a: t.update({"features.dense1.weight": torch.zeros(2, 4)}),
    "is float64 3x4, not float32 3x4": lambda t, a: t.update({"features.dense1.weight": torch.zeros(3, 4).double()}),
    "features.dense1.weight contains NaN": lambda t, a: t["features.dense1.weight"].fill_(float("nan")),
    "no layer is called 'Danse'; did you mean 'Dense'": lambda t, a: a["network"]["children"]["features"]["children"][
        "dense1"
    ].update(type="Danse"),
    "expected an object with its 'type'": lambda t, a: a.pop("network"),
    "no loss is called 'Dense'": lambda t, a: a.update(loss={"type": "Dense", "units": 3}),
    "input_shape must be": lambda t, a: a.update(input_shape=[4.5]),
    "not None": lambda t, a: a.pop("input_shape"),
    "classes must be": lambda t, a: a.update(classes=[1]),
    "mean and std must be": lambda t, a: a.update(preprocess={"mean": [0.1]}),
    "with std above 0": lambda t, a: a.update(preprocess={"mean": [], "std": []}),
    "preprocess: 'crop' is unknown": lambda t, a: a.update(preprocess={"crop": 8}),
    "data must be the name": lambda t, a: a.update(preprocess={"data": 5}),
    "two are called 'a'": lambda t, a: a.update(classes=["a", "a"]),
    "the data have 4 classes": lambda t, a: a.update(classes=list("abcd")),
    "precision must be": lambda t, a: a.update(precision="float16"),
    "preprocess must be": lambda t, a: a.update(preprocess=[]),
    "no metric is called 'f7'": lambda t, a: a.update(metrics=["f7"]),
    "dense1: takes the network to 8,000,000,016 bytes": lambda t, a: a["network"]["children"]["features"]["children"][
        "dense1"
    ].update(units=2_000_000_000),
}


@pytest.mark.parametrize("message", FORGERIES)
def test_forged_files_with_a_matching_hash_are_refused(tmp_path, message):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    rewrite_file(path, FORGERIES[message])
    with pytest.raises(PellucidError) as error:
        Model.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_all_mismatches_are_listed_in_one_error(tmp_path):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    rewrite_file(
        path, lambda t, a: (t.pop("features.dense1.bias"), t.pop("head.scores.bias"), t.update(odd=torch.zeros(1)))
    )
    with pytest.raises(
        PellucidError, match=r"features\.dense1\.bias is missing; head\.scores\.bias is missing; odd is not"
    ):
        Model.load(path)


def test_only_the_first_of_very_many_mismatches_are_listed(tmp_path):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    rewrite_file(path, lambda t, a: t.update({f"odd{k:03}": torch.zeros(1) for k in range(500)}))
    with pytest.raises(PellucidError, match=r"odd000 is not .*; and 480 more; train it again$"):
        Model.load(path)


def test_booleans_other_than_0_and_1_are_refused(tmp_path):
    write_weights(tmp_path / "w", {"a": torch.tensor([1, 7], dtype=torch.uint8).view(torch.bool)}, {})
    with pytest.raises(PellucidError, match="booleans that are neither 0 nor 1"):
        read_weights(tmp_path / "w")


def test_a_network_that_needs_too_much_memory_is_refused_before_allocation(tmp_path):
    path = tmp_path / "model.safetensors"
    huge = Sequential(Conv2d(2**31 - 1, 2**20), Flatten(), Dense(2**31 - 1))
    about = {**small_model().about(), "network": None, "input_shape": [2**20, 2**20, 2**20]}
    from pellucid.extend.config import to_config

    write_weights(path, {}, {**about, "network": to_config(huge)})
    with pytest.raises(PellucidError, match=r"no such network can exist|takes the network to .* bytes of memory"):
        Model.load(path)


def test_missing_damaged_and_foreign_files_have_different_messages(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(PellucidError, match="is missing"):
        read_weights(path)
    with pytest.raises(PellucidError, match="is not a file"):
        read_weights(tmp_path)
    for data in (b"", b"PK\x03\x04 a pickle in a zip", b"\x80\x02}q\x00.", struct.pack("<Q", 2**63) + b"{}"):
        path.write_bytes(data)
        with pytest.raises(PellucidError, match="damaged or not a weights file"):
            read_weights(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(PellucidError, match="pellucid did not write it"):
        read_weights(path)


@pytest.mark.parametrize("head", [b"", struct.pack("<Q", 2) + b"{}"])
def test_a_file_of_15_gigabytes_with_an_invalid_header_is_not_read(head, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(head)
    os.truncate(path, 15 << 30)  # a sparse file, which occupies no disk space
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("reads all of it"))
    with pytest.raises(PellucidError, match=r"damaged or not a weights file|pellucid did not write it"):
        read_weights(path)


def test_a_duplicate_name_is_refused(tmp_path):
    write_weights(tmp_path / "w", {"a": torch.zeros(1)}, {})
    data = (tmp_path / "w").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header_with_duplicate = json.dumps(header)[:-1] + ', "__metadata__": {"format": "pellucid/1"}}'
    (tmp_path / "w").write_bytes(
        struct.pack("<Q", len(header_with_duplicate)) + header_with_duplicate.encode() + data[8 + size :]
    )
    with pytest.raises(PellucidError, match="occurs twice"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_WEIGHTS_HEADER_BYTES", "its description takes"), ("MAX_WEIGHTS_BYTES", "it takes")]
)
def test_a_description_that_could_not_be_read_is_not_written(tmp_path, monkeypatch, limit, message):
    write_weights(tmp_path / "w", sample_tensors(), DESCRIPTION)
    file_bytes = (tmp_path / "w").read_bytes()
    size = int.from_bytes(file_bytes[:8], "little") if limit == "MAX_WEIGHTS_HEADER_BYTES" else len(file_bytes)
    monkeypatch.setattr(weights, limit, size)
    write_weights(tmp_path / "w", sample_tensors(), DESCRIPTION)
    assert read_weights(tmp_path / "w")[1] == DESCRIPTION
    file_bytes = (tmp_path / "w").read_bytes()
    monkeypatch.setattr(weights, limit, size - 8)  # header sizes are multiples of 8
    with pytest.raises(PellucidError, match=f"w cannot be written: {message} {size} bytes, above the limit"):
        write_weights(tmp_path / "w", sample_tensors(), DESCRIPTION)
    assert (tmp_path / "w").read_bytes() == file_bytes


def test_a_description_that_is_nested_too_deeply_is_refused(tmp_path):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(PellucidError, match="w cannot be written: "):
        write_weights(tmp_path / "w", sample_tensors(), {"deep": deep})


@pytest.mark.parametrize("name", ["a.onnx", "b.c.onnx"])
def test_an_onnx_file_is_named_with_how_to_use_it(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x08\x08\x12\x08pellucid" * 20)
    with pytest.raises(PellucidError, match=r"is an ONNX file.*`pellucid open .*onnx --out NAME\.safetensors`"):
        read_weights(tmp_path / name)
