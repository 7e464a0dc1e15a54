"""Random changes to files: to any bytes, to values in JSON, XML and headers, and to weights files of ours."""

import copy
import json
import random
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from pellucid.extend.registry import TYPES
from pellucid.run.weights import read_weights, write_weights

_JSON_VALUES = (
    0, -1, 1, 2, 3, 5, 8, 255, 32768, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 63, 10**30, 0.5, -0.5, 1e-30, 1e308,
    True, False, None, "", "a", "same", "/etc", "..", "\x1b[2J", [], [1], [3, 3], [0, 0], [1, 2, 3], [[1, 2], [3, 4]],
    {}, {"type": "Identity"}, {"type": "Flatten"},
)  # fmt: skip
_PREFIX_BYTES = 8


def damage(original: bytes, rng: random.Random) -> bytes:
    """Return a copy with bits flipped, bytes overwritten, parts removed or copied elsewhere, or the end cut off.

    The first and the last 600 bytes, which contain headers and directories, are changed as often as all other bytes.
    """
    data = bytearray(original)
    while bytes(data) == original:
        for _ in range(rng.choice([1, 1, 1, 3, 10])):
            size = max(len(data), 1)
            span = rng.choice([size, min(600, size)])
            position = rng.randrange(span) if rng.random() < 0.75 else size - 1 - rng.randrange(span)
            length = rng.choice([1, 2, 4, 8, 100])
            kind = rng.randrange(8)
            if kind == 0:
                data[position : position + 1] = bytes(
                    byte ^ 1 << rng.randrange(8) for byte in data[position : position + 1]
                )
            elif kind == 1:
                data[position : position + length] = rng.randbytes(length)
            elif kind == 2:
                data[position : position + length] = rng.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
            elif kind == 3:
                del data[position : position + length]
            elif kind == 4:
                data[position:position] = data[position : position + length]
            elif kind == 5:
                source = rng.randrange(size)
                data[position : position + length] = data[source : source + length]
            elif kind == 6:
                number_format = rng.choice(["<H", ">H", "<I", ">I", "<Q"])
                width = struct.calcsize(number_format)
                data[position : position + width] = struct.pack(
                    number_format, rng.choice([0, 1, 1 << 8 * width - 1, (1 << 8 * width) - 1])
                )
            else:
                del data[position + 1 :]
    return bytes(data)


def change_header(original: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with one value of its header changed, without updating its SHA-256."""
    size = int.from_bytes(original[:_PREFIX_BYTES], "little")
    header = json.loads(original[_PREFIX_BYTES : _PREFIX_BYTES + size])
    _change(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + original[_PREFIX_BYTES + size :]


def change_json(original: bytes, rng: random.Random) -> bytes:
    """Return a JSON file with one to three values changed."""
    value = json.loads(original)
    for _ in range(rng.choice([1, 1, 2, 3])):
        _change(value, rng)
    return json.dumps(value).encode()


def change_xml(original: bytes, rng: random.Random) -> bytes:
    """Return an XML file with one to three elements given another text or tag, removed or duplicated."""
    root = ElementTree.fromstring(original)
    for _ in range(rng.choice([1, 1, 2, 3])):
        parent = rng.choice([one for one in root.iter() if len(one)] or [root])
        if not len(parent):
            break
        child, kind = rng.choice(list(parent)), rng.randrange(4)
        if kind == 0:
            parent.remove(child)
        elif kind == 1:
            parent.append(copy.deepcopy(child))
        elif kind == 2:
            child.tag = rng.choice(["object", "bndbox", "name", "xmin", "ymax", "size", "other"])
        else:
            texts = ["", "-1", "0", "7", "1e9", "nan", "inf", "x", "1 2", "\u0663", "cat", "\x85", "9" * 400, "12.5"]
            child.text = rng.choice(texts)
    return ElementTree.tostring(root)


def read_in_order(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the description of a file of ours, sorted by name because their order in it is random."""
    tensors, about = read_weights(path)
    return dict(sorted(tensors.items())), dict(sorted(about.items()))


def forge(original: Path, path: Path, rng: random.Random) -> None:
    """Write a file of ours with one to three values or tensors changed, and a matching SHA-256."""
    tensors, about = read_in_order(original)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.1:
            _change_familiarity(tensors, about, rng)
        elif rng.random() < 0.8:
            _change(about, rng)
        else:
            _change_tensor(tensors, rng)
    write_weights(path, tensors, about)


def _change(tree: dict[str, Any], rng: random.Random) -> None:
    """Change, remove, duplicate or swap one value of nested JSON values, in place."""
    locations = list(_locations(tree))
    if not locations:  # an earlier change has removed the last value
        return
    parent, key = rng.choice(locations)
    kind = rng.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(["type", "padding", "new", "a.b", "", "[0]", str(key) + "2"])] = copy.deepcopy(parent[key])
    elif kind == 2:
        parent[key] = copy.deepcopy(rng.choice(rng.choice(locations)[0:1]))
    elif kind == 3:
        other, name = rng.choice(locations)
        parent[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(parent[key])
    elif isinstance(parent[key], str) and parent[key] in TYPES:
        parent[key] = rng.choice(list(TYPES))
    elif isinstance(parent[key], int) and kind < 6:
        parent[key] = rng.choice([parent[key] * 2, parent[key] + 1, parent[key] * 1000, -parent[key], 1 << 15])
    else:
        parent[key] = copy.deepcopy(rng.choice(_JSON_VALUES))


def _change_familiarity(tensors: dict[str, torch.Tensor], about: dict[str, Any], rng: random.Random) -> None:
    """Halve or double the features of one depth in all of its tensors, or change the layer path of a depth."""
    familiarity = about.get("familiarity")
    depths = familiarity.get("depths") if isinstance(familiarity, dict) else None
    depths = [one for one in depths if isinstance(one, dict)] if isinstance(depths, list) else []
    if rng.random() < 0.5 and depths:
        layers = sorted({name.rpartition(".")[0] for name in tensors if not name.startswith("[")})
        depths[rng.randrange(len(depths))]["path"] = rng.choice(layers)
        return
    prefix, change = f"[familiarity].{rng.randrange(max(len(depths), 1))}.", rng.choice(["half", "double"])
    for name, tensor in tensors.items():
        if name.startswith(prefix) and not name.endswith("variances") and tensor.dim():
            tensors[name] = tensor[..., ::2].contiguous() if change == "half" else torch.cat([tensor, tensor], -1)


def _locations(tree: Any) -> Any:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _locations(value)


def _change_tensor(tensors: dict[str, torch.Tensor], rng: random.Random) -> None:
    name = rng.choice(list(tensors))
    tensor = tensors[name]
    kind = rng.randrange(6)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name + rng.choice(["2", ".x", "\n"])] = tensor.clone()
    elif kind == 2:
        tensors[name] = tensor.to(rng.choice([torch.float64, torch.float16, torch.int64, torch.bool, torch.bfloat16]))
    elif kind == 3:
        tensors[name] = tensor.reshape(-1)
    elif kind == 4:
        tensors[name] = torch.full_like(tensor, rng.choice([float("nan"), float("inf"), 3e38, 0.0, -1.0]))
    else:
        tensors[name] = tensor.new_zeros(rng.choice([(), (0,), (1, 1), (2, 3, 4)]))
