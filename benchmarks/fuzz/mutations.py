"""Changes to a file: of its bytes anywhere, and of the values that a weights file of ours describes its model by."""

import copy
import json
import random
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from pellucid.registry import TYPES
from pellucid.run.weights import read_weights, write_weights

_VALUES = (
    0, -1, 1, 2, 3, 5, 8, 255, 32768, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 63, 10**30, 0.5, -0.5, 1e-30, 1e308,
    True, False, None, "", "a", "same", "/etc", "..", "\x1b[2J", [], [1], [3, 3], [0, 0], [1, 2, 3], [[1, 2], [3, 4]],
    {}, {"type": "Identity"}, {"type": "Flatten"},
)  # fmt: skip
_PREFIX = 8


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """Return a copy with bits flipped, bytes overwritten, parts cut out, doubled or moved, or the end missing.

    The first and the last 600 bytes, where headers and directories stand, are hit as often as all the rest.
    """
    data = bytearray(whole)
    while bytes(data) == whole:
        for _ in range(draw.choice([1, 1, 1, 3, 10])):
            size = max(len(data), 1)
            near = draw.choice([size, min(600, size)])
            at = draw.randrange(near) if draw.random() < 0.75 else size - 1 - draw.randrange(near)
            length = draw.choice([1, 2, 4, 8, 100])
            kind = draw.randrange(8)
            if kind == 0:
                data[at : at + 1] = bytes(byte ^ 1 << draw.randrange(8) for byte in data[at : at + 1])
            elif kind == 1:
                data[at : at + length] = draw.randbytes(length)
            elif kind == 2:
                data[at : at + length] = draw.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
            elif kind == 3:
                del data[at : at + length]
            elif kind == 4:
                data[at:at] = data[at : at + length]
            elif kind == 5:
                there = draw.randrange(size)
                data[at : at + length] = data[there : there + length]
            elif kind == 6:
                form = draw.choice(["<H", ">H", "<I", ">I", "<Q"])
                width = struct.calcsize(form)
                data[at : at + width] = struct.pack(form, draw.choice([0, 1, 1 << 8 * width - 1, (1 << 8 * width) - 1]))
            else:
                del data[at + 1 :]
    return bytes(data)


def header_changed(whole: bytes, draw: random.Random) -> bytes:
    """Return a safetensors file with one value of its header changed, its SHA-256 left as it was."""
    size = int.from_bytes(whole[:_PREFIX], "little")
    header = json.loads(whole[_PREFIX : _PREFIX + size])
    _change(header, draw)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[_PREFIX + size :]


def json_changed(whole: bytes, draw: random.Random) -> bytes:
    """Return a JSON file with one to three values changed."""
    value = json.loads(whole)
    for _ in range(draw.choice([1, 1, 2, 3])):
        _change(value, draw)
    return json.dumps(value).encode()


def xml_changed(whole: bytes, draw: random.Random) -> bytes:
    """Return an XML file with one to three elements changed: another text or name, taken out, or doubled."""
    root = ElementTree.fromstring(whole)
    for _ in range(draw.choice([1, 1, 2, 3])):
        parent = draw.choice([one for one in root.iter() if len(one)] or [root])
        if not len(parent):
            break
        child, kind = draw.choice(list(parent)), draw.randrange(4)
        if kind == 0:
            parent.remove(child)
        elif kind == 1:
            parent.append(copy.deepcopy(child))
        elif kind == 2:
            child.tag = draw.choice(["object", "bndbox", "name", "xmin", "ymax", "size", "other"])
        else:
            texts = ["", "-1", "0", "7", "1e9", "nan", "inf", "x", "1 2", "\u0663", "cat", "\x85", "9" * 400, "12.5"]
            child.text = draw.choice(texts)
    return ElementTree.tostring(root)


def read_in_order(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the description of a file of ours sorted by name: their order in it is random."""
    tensors, about = read_weights(path)
    return dict(sorted(tensors.items())), dict(sorted(about.items()))


def forge(whole: Path, path: Path, draw: random.Random) -> None:
    """Write a file of ours with one to three values or tensors changed, and a SHA-256 that agrees."""
    tensors, about = read_in_order(whole)
    for _ in range(draw.choice([1, 1, 2, 3])):
        if draw.random() < 0.1:
            _change_familiarity(tensors, about, draw)
        elif draw.random() < 0.8:
            _change(about, draw)
        else:
            _change_tensor(tensors, draw)
    write_weights(path, tensors, about)


def _change(tree: dict[str, Any], draw: random.Random) -> None:
    """Change, take out, add or double one value somewhere in values of JSON."""
    places = list(_places(tree))
    parent, key = draw.choice(places)
    kind = draw.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[draw.choice(["type", "padding", "new", "a.b", "", "[0]", str(key) + "2"])] = copy.deepcopy(parent[key])
    elif kind == 2:
        parent[key] = copy.deepcopy(draw.choice(draw.choice(places)[0:1]))
    elif kind == 3:
        other, name = draw.choice(places)
        parent[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(parent[key])
    elif isinstance(parent[key], str) and parent[key] in TYPES:
        parent[key] = draw.choice(list(TYPES))
    elif isinstance(parent[key], int) and kind < 6:
        parent[key] = draw.choice([parent[key] * 2, parent[key] + 1, parent[key] * 1000, -parent[key], 1 << 15])
    else:
        parent[key] = copy.deepcopy(draw.choice(_VALUES))


def _change_familiarity(tensors: dict[str, torch.Tensor], about: dict[str, Any], draw: random.Random) -> None:
    """Change the features of one depth in all of its tensors alike, or the layer that they are said to be of."""
    known = about.get("familiarity")
    depths = known.get("depths") if isinstance(known, dict) else None
    depths = [one for one in depths if isinstance(one, dict)] if isinstance(depths, list) else []
    if draw.random() < 0.5 and depths:
        layers = sorted({name.rpartition(".")[0] for name in tensors if not name.startswith("[")})
        depths[draw.randrange(len(depths))]["path"] = draw.choice(layers)
        return
    start, change = f"[familiarity].{draw.randrange(max(len(depths), 1))}.", draw.choice(["half", "double"])
    for name, it in tensors.items():
        if name.startswith(start) and not name.endswith("variances") and it.dim():
            tensors[name] = it[..., ::2].contiguous() if change == "half" else torch.cat([it, it], -1)


def _places(tree: Any) -> Any:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _change_tensor(tensors: dict[str, torch.Tensor], draw: random.Random) -> None:
    name = draw.choice(list(tensors))
    it = tensors[name]
    kind = draw.randrange(6)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name + draw.choice(["2", ".x", "\n"])] = it.clone()
    elif kind == 2:
        tensors[name] = it.to(draw.choice([torch.float64, torch.float16, torch.int64, torch.bool, torch.bfloat16]))
    elif kind == 3:
        tensors[name] = it.reshape(-1)
    elif kind == 4:
        tensors[name] = torch.full_like(it, draw.choice([float("nan"), float("inf"), 3e38, 0.0, -1.0]))
    else:
        tensors[name] = it.new_zeros(draw.choice([(), (0,), (1, 1), (2, 3, 4)]))
