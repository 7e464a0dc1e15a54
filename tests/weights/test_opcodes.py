"""Pickles that would run code or exhaust memory or time in Python's unpickler."""

import os
import pickle
import time
import zipfile
from pathlib import Path

import pytest
import torch

from pellucid.weights.fault import FileFault
from pellucid.weights.opcodes import Storage, StorageView, unpickle
from tests.cases import mostly_heavy
from tests.pace import in_loop_durations
from tests.weights.conftest import OpenRefused


def pickle_of(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


STORAGE_OPCODES = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"


def tensor_opcodes(offset: bytes, shape: bytes, strides: bytes, storage: bytes = STORAGE_OPCODES) -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89}tR"


def test_tensor_is_unpickled_as_a_storage_view():
    values = unpickle(pickle_of(tensor_opcodes(b"K\x01", b"K\x02K\x02\x86", b"K\x02K\x01\x86")))
    storage = Storage("0", torch.float32, 6)
    assert values.value == StorageView(storage, 1, (2, 2), (2, 1))
    assert values.storages == {"0": storage}
    assert values.value.numel == 4


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_equal_those_of_pickle(protocol):
    value = {
        "plain": [1, -1, 300, 70_000, -(1 << 40), 1 << 70, 0.1, True, False, None, "ä", "x" * 300],
        "tuples": ((), (1,), (2, 3, 4, 5)),
        7: {},
        "long": list(range(3000)),
    }
    data = pickle.dumps(value, protocol)
    values = unpickle(b"xyz" + data + b"more", 3)
    assert values.value == value
    assert values.end == 3 + len(data)


COMMAND = b"X\x06\0\0\0touch "
HOSTILE_PICKLES = {
    "reduce": b"cos\nsystem\n" + COMMAND + b"\x85R",
    "posix": b"cposix\nsystem\n" + COMMAND + b"\x85R",
    "inst": b"(" + COMMAND + b"ios\nsystem\n",
    "obj": b"(cos\nsystem\n" + COMMAND + b"o",
    "newobj": b"csubprocess\nPopen\n" + COMMAND + b"\x85\x81",
    "newobj_ex": b"csubprocess\nPopen\n)}\x92",
    "build": b"ctorch\nSize\n}X\x09\0\0\0__class__K\x01sb",
    "build on a dict": b"}K\x01b",
    "stack_global": b"\x8c\x02os\x8c\x06system\x93" + COMMAND + b"\x85R",
    "dotted": b"\x8c\x05torch\x8c\x10serialization.os\x93)R",
    "eval": b"c__builtin__\neval\n" + COMMAND + b"\x85R",
    "getattr": b"cbuiltins\ngetattr\n(ctorch\nSize\nX\x01\0\0\0atR",
    "extension": b"\x82\x01",
    "extension 2": b"\x83\x01\x00",
    "extension 4": b"\x84\x01\0\0\0",
    "memo": b"cos\nsystem\nq\x00h\x00" + COMMAND + b"\x85R",
    "a text that is called": b"X\x09\0\0\0os.systemq\x00h\x00)R",
    "a storage that is called": b"ctorch\nFloatStorage\n)R",
    "a dict that is called": b"})R",
    "arguments that are no tuple": b"ccollections\nOrderedDict\n]R",
    "a reader of bytes": b"ctorch.storage\n_load_from_bytes\n" + COMMAND + b"\x85R",
    "numpy": b"cnumpy.core.multiarray\n_reconstruct\n)R",
    "another known name": b"ctorch._utils\n_rebuild_tensor_v2 \n)R",
    "an object behind a reference": b"cos\nsystem\nQ",
    "a reference by text": b"X\x01\0\0\0aQ",
    "protocol 0": b"I1\n",
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_only_tensor_constructors_are_called(name, tmp_path, open_refused: OpenRefused):
    marker = tmp_path / "mark"
    command = COMMAND[:1] + (len(marker.as_posix()) + 6).to_bytes(4, "little") + b"touch " + marker.as_posix().encode()
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle_of(HOSTILE_PICKLES[name].replace(COMMAND, command)))
    open_refused(path)
    assert not marker.exists()


class TouchCommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("position", ["root", "beside", "key"])
def test_command_in_a_file_that_pytorch_wrote_is_refused(is_zip, position, tmp_path, open_refused: OpenRefused):
    command = TouchCommand(tmp_path / "mark")
    weights = {"w": torch.ones(2)}
    value = {"root": command, "beside": {**weights, "x": command}, "key": {command: weights["w"], **weights}}[position]
    torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert "refers to posix.system, which no tensor needs" in open_refused(tmp_path / "a.pth")
    assert not (tmp_path / "mark").exists()


def test_the_command_of_these_tests_is_run_by_pickle(tmp_path):
    pickle.loads(pickle.dumps(TouchCommand(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


HUGE_SIZE = b"\xff\xff\xff\x7f"
INVALID_PICKLES = {
    "a negative size": tensor_opcodes(b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
    "a negative stride": tensor_opcodes(b"K\x05", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),
    "a negative offset": tensor_opcodes(b"J\xff\xff\xff\xff", b"K\x02\x85", b"K\x01\x85"),
    "an offset outside": tensor_opcodes(b"K\x06", b"K\x01\x85", b"K\x01\x85"),
    "a stride outside": tensor_opcodes(b"K\x00", b"K\x02\x85", b"K\x06\x85"),
    "a size outside": tensor_opcodes(b"K\x00", b"J" + HUGE_SIZE + b"\x85", b"K\x01\x85"),
    "a size of a hundred bits": tensor_opcodes(b"K\x00", b"\x8a\x0d" + b"\x01" * 13 + b"\x85", b"K\x01\x85"),
    "a size that is a text": tensor_opcodes(b"K\x00", b"X\x01\0\0\x001\x85", b"K\x01\x85"),
    "a size that is a truth": tensor_opcodes(b"K\x00", b"\x88\x85", b"K\x01\x85"),
    "more sizes than strides": tensor_opcodes(b"K\x00", b"K\x02K\x02\x86", b"K\x01\x85"),
    "forty sizes": tensor_opcodes(b"K\x00", b"(" + b"K\x01" * 40 + b"t", b"(" + b"K\x01" * 40 + b"t"),
    "a tensor of a tensor": tensor_opcodes(b"K\x00", b")", b")", storage=tensor_opcodes(b"K\x00", b")", b")")),
    "a storage of negative size": STORAGE_OPCODES.replace(b"K\x06", b"J\xff\xff\xff\xff"),
    "a storage in a storage": STORAGE_OPCODES.replace(b"K\x06", b"K\x06X\x01\0\0\x001"),
    "one storage described twice": STORAGE_OPCODES + STORAGE_OPCODES.replace(b"K\x06", b"K\x07") + b"\x86",
    "a text longer than the file": b"X" + HUGE_SIZE + b"abc",
    "a text of 64 bits": b"\x8d" + b"\xff" * 8 + b"abc",
    "a number longer than the file": b"\x8a\xff" + bytes(255),
    "a number of the next kind": b"\x8b" + HUGE_SIZE,
    "a place that was never filled": b"h\x07",
    "a stack that is empty": b"",
    "no mark": b"t",
    "a mark too many": b"(N",
    "taking what stands before a mark": b"N(\x85",
    "two values": b"NN",
    "an odd number of items": b"}(Nu",
    "an item of a list": b"]K\x01K\x01s",
    "an append to a dict": b"}K\x01a",
    "a tuple as a key": b"})Ns",
    "a tensor as a key": b"}" + tensor_opcodes(b"K\x00", b")", b")") + b"Ns",
    "pairs of three": b"ccollections\nOrderedDict\n]K\x01K\x01K\x01\x87a\x85R",
    "a text that is not UTF-8": b"X\x01\0\0\0\xff",
    "a name without end": b"c" + b"a" * 400,
    "popping": b"NN0",
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID_PICKLES)
def test_invalid_pickles_are_refused(name):
    with pytest.raises(FileFault):
        unpickle(pickle_of(INVALID_PICKLES[name]))


def test_other_protocols_are_refused():
    for head in (b"", b"\x80", b"\x80\x01N.", b"\x80\x06N.", b"N."):
        with pytest.raises(FileFault):
            unpickle(head)


BOMB_PICKLES = {
    "lists in lists": b"]" * 200_000 + b"a" * 199_999,
    "tuples in tuples": b")" + b"\x85" * 400_000,
    "two million tuples in tuples": b")" + b"\x85" * 1_900_000,
    "a list of two million tuples": b"](" + b"NN\x86\x85\x85" * 400_000 + b"e",
    "a list of itself": b"]q\x00h\x00a",
    "a dict of itself": b"}q\x00X\x0a\0\0\0state_dicth\x00s",
    "doubling forty times": b"]q\x00" + b"".join(b"]q%c(h%ch%ce" % (k, k - 1, k - 1) for k in range(1, 41)),
    "doubling tuples": b")" + b"q\x00h\x00\x86" * 41,
    "doubling dicts": b"}" + b"".join(b"q\x00}X\x01\0\0\0ah\x00sX\x01\0\0\0bh\x00s" for k in range(41)),
    "one list of pairs made into a dict again and again": b"ccollections\nOrderedDict\nq\x01"
    + b"]q\x00("
    + b"".join(b"J" + k.to_bytes(4, "little") + b"N\x86" for k in range(20_000))
    + b"e"
    + b"h\x01h\x00\x85R" * 20_000,
    "marks": b"(" * 1_000_000,
    "three million steps": b"]" * 3_000_000,
    "memory places far apart": b"N" + b"".join(b"r" + (k << 20).to_bytes(4, "little") for k in range(4000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_heavy(BOMB_PICKLES, 3))
def test_bombs_are_refused_quickly(name, tmp_path, open_refused: OpenRefused):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle_of(BOMB_PICKLES[name]))
    start = time.process_time()
    open_refused(path)
    assert in_loop_durations(time.process_time() - start) < 600  # at most 84 on an idle machine


def test_pickle_above_the_size_limit_is_refused(tmp_path, open_refused: OpenRefused):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", bytes((16 << 20) + 1))
    assert "above the limit" in open_refused(tmp_path / "a.pth")
