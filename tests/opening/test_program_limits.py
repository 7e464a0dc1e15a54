"""Limits on what a file of an exported program may cost; the declared sizes are checked before any tensor exists."""

import io
import json
import re
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.test_program import rewrite_entry

FREE = torch.export.Dim.AUTO


def save(path: Path, module: nn.Module, *inputs: Tensor, free_batch: bool = True) -> Path:
    """Save a module as a program for any number of examples, or for exactly those in the inputs."""
    shapes = tuple({0: FREE} for _ in inputs) if free_batch else None
    torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), path)
    return path


def change_program(path: Path, change: Callable[[Any], None]) -> Path:
    """Change the description of the program in a file."""

    def changed(text: bytes) -> bytes:
        program = json.loads(text)
        change(program)
        return json.dumps(program).encode()

    path.write_bytes(rewrite_entry(path.read_bytes(), "models/model.json", changed))
    return path


def with_input_size(path: Path, name: str, axis: int, size: int) -> Path:
    """Declare another size of an input."""

    def change(program: Any) -> None:
        program["graph_module"]["graph"]["tensor_values"][name]["sizes"][axis] = {"as_int": size}

    return change_program(path, change)


def resident_bytes(field: str) -> int:
    """Return VmRSS, the memory of this process, or VmHWM, its peak since the last reset."""
    match = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) << 10


def refusal(path: Path) -> str:
    """Return the message with which a file is refused: one line with its name, before much time or memory is used."""
    start = time.process_time()
    before = 0
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = resident_bytes("VmRSS")
    with pytest.raises(PellucidError) as caught:
        pellucid.open(path)
    if sys.platform == "linux":
        assert resident_bytes("VmHWM") - before < 300 << 20
    assert time.process_time() - start < 30  # seconds; several times what is needed
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x.mean((1, 2)) + z.mean((1, 2))


@pytest.mark.parametrize("name", ["x", "z"])
@pytest.mark.parametrize("size", [1 << 20, 1 << 31, 1 << 45])
def test_each_of_several_inputs_is_limited(name: str, size: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", TwoInputs(), torch.rand(3, 4, 512), torch.rand(3, 4, 512))
    assert pellucid.open(path)((torch.ones(2, 4, 512), torch.ones(2, 4, 512))).tolist() == [2.0, 2.0]
    message = refusal(with_input_size(path, name, 1, size))
    assert "above 536,870,912" in message or "Storage size calculation overflowed" in message


@pytest.mark.parametrize("size", [1 << 28, 1 << 34, 1 << 55])
def test_the_declared_size_is_checked_before_inputs_are_drawn(size: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Flatten(), torch.rand(3, 4, 5))
    refusal(with_input_size(path, "input", 1, size))


@pytest.mark.parametrize("batch", [1 << 27, 1 << 30, 1 << 50])
def test_the_declared_number_of_examples_is_limited(batch: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.ReLU(), torch.rand(8, 5), free_batch=False)
    x = torch.randn(3, 5)
    assert torch.equal(pellucid.open(path)(x), x.relu())

    def change(program: Any) -> None:
        for value in program["graph_module"]["graph"]["tensor_values"].values():
            value["sizes"][0] = {"as_int": batch}

    assert f"for {batch + 1:,} examples" in refusal(change_program(path, change))


class Grows(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.times).sum(1, keepdim=True)


@pytest.mark.parametrize("times", [1 << 27, 1 << 40, 1 << 60])
def test_outputs_of_operators_are_limited(times: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", Grows(77), torch.rand(3, 4))
    assert pellucid.open(path)(torch.ones(2, 4)).flatten().tolist() == [308.0, 308.0]
    path.write_bytes(
        rewrite_entry(path.read_bytes(), "model.json", lambda text: text.replace(b"[1, 77]", f"[1, {times}]".encode()))
    )
    refusal(path)


class ReducesExpanded(nn.Module):
    """Reduces a value that is expanded without memory, by one of several operators."""

    def __init__(self, op: str) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        wide = x.unsqueeze(-1).expand(-1, -1, 77)
        return {"sum": wide.sum, "mean": wide.mean, "amax": wide.amax}[self.op](-1)


@pytest.mark.parametrize("op", ["sum", "mean", "amax"])
@pytest.mark.parametrize("size", [1 << 33, 1 << 40])
def test_values_that_are_only_repeated_count_too(op: str, size: int, tmp_path: Path) -> None:
    module = ReducesExpanded(op)
    path = save(tmp_path / "net.pt2", module, torch.rand(3, 4))
    x = torch.randn(2, 4)
    torch.testing.assert_close(pellucid.open(path)(x), module(x))
    path.write_bytes(
        rewrite_entry(path.read_bytes(), "model.json", lambda text: text.replace(b"-1, 77]", f"-1, {size}]".encode()))
    )
    refusal(path)


CONSTANTS: dict[str, Callable[[], Tensor]] = {
    "an expansion": lambda: torch.ones(1).expand(1 << 40).sum(),
    "windows": lambda: torch.ones(1 << 20).unfold(0, 1 << 19, 1).sum(),
    "singular values": lambda: torch.linalg.svdvals(torch.ones(3000, 3000))[0],
    "distances": lambda: torch.cdist(torch.ones(3000, 3000), torch.ones(3000, 3000), p=3.0).sum(),
    "an inverse": lambda: torch.linalg.inv(torch.eye(3000)).sum(),
    "a sorted list": lambda: torch.arange(1 << 26).sort()[0].sum(),  # noqa: PLW0108 - run while the program is exported
    "places of values": lambda: torch.ones(1 << 20).nonzero().sum(),
}


class AddsConstant(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return x + CONSTANTS[self.name]()


@pytest.mark.parametrize("name", CONSTANTS)
def test_costly_constants_are_refused(name: str, tmp_path: Path) -> None:
    """torch.export computes nothing, so these files are written at once."""
    refusal(save(tmp_path / "net.pt2", AddsConstant(name), torch.rand(3, 4)))


class ComputesConstants(nn.Module):
    """Doubles a constant, which is computed when the program is opened."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("start", torch.ones(64, 64))

    def forward(self, x: Tensor) -> Tensor:
        y = self.start
        for _ in range(self.count):
            y = torch.cat((y, y))
        return x + y.sum()


class MultipliesConstants(nn.Module):
    """Multiplies a constant matrix by itself several times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("start", torch.eye(1024))

    def forward(self, x: Tensor) -> Tensor:
        y = self.start
        for _ in range(self.count):
            y = y @ y
        return x + y.sum()


@pytest.mark.parametrize(
    ("small", "large", "total"),
    [
        (ComputesConstants(2), ComputesConstants(14), 64 * 64 * 4),
        (MultipliesConstants(2), MultipliesConstants(9), 1024),
    ],
)
def test_constants_are_computed_within_limits(small: nn.Module, large: nn.Module, total: int, tmp_path: Path) -> None:
    x = torch.randn(2, 3)
    opened = pellucid.open(save(tmp_path / "small.pt2", small, torch.rand(2, 3)))
    torch.testing.assert_close(opened(x), x + total)
    assert "33,554,432 values or 8,589,934,592 multiply-adds" in refusal(save(tmp_path / "large.pt2", large, x))


class Unused(nn.Module):
    """Computes something that no output needs."""

    def forward(self, x: Tensor) -> Tensor:
        x.repeat(1, 77).sum()
        return x.relu()


def test_nodes_that_no_output_needs_are_not_run(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", Unused(), torch.rand(3, 4))
    data = rewrite_entry(path.read_bytes(), "model.json", lambda text: text.replace(b"[1, 77]", b"[1, 1099511627776]"))
    path.write_bytes(data)
    x = torch.randn(2, 4)
    assert torch.equal(pellucid.open(path)(x), x.relu())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_tied_weights_stay_one_parameter(tmp_path: Path) -> None:
    module = Tied()
    model = pellucid.open(save(tmp_path / "net.pt2", module, torch.rand(3, 4)))
    x = torch.randn(2, 4)
    torch.testing.assert_close(model(x), module(x).detach(), rtol=1e-5, atol=1e-6)
    assert sum(weight.numel() for weight in model.weights.values()) == 16 + 4 + 4
    assert model.path_by_tied_key["second.weight"] == "first.weight"
    assert set(model.state_dict()) == set(module.state_dict())


def with_config(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the list of stored weights in a file."""

    def changed(text: bytes) -> bytes:
        config = json.loads(text)
        change(config["config"])
        return json.dumps(config).encode()

    path.write_bytes(rewrite_entry(path.read_bytes(), "model_weights_config.json", changed))
    return path


def test_many_names_of_one_tensor_share_its_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(512, 512), torch.rand(3, 512))

    def repeat(config: dict[str, Any]) -> None:
        config.update({f"copy{k}": config["weight"] for k in range(400)})

    model = pellucid.open(with_config(path, repeat))
    assert sum(weight.numel() for weight in model.weights.values()) == 512 * 512 + 512
    assert not model.unused  # the copies are the weight itself


@pytest.mark.parametrize(
    "change",
    [
        lambda meta, k: meta.update(storage_offset={"as_int": k}, sizes=[{"as_int": 511}, {"as_int": 512}]),
        lambda meta, k: meta.update(sizes=[{"as_int": 512}, {"as_int": 512 - k}]),
        lambda meta, k: meta.update(strides=[{"as_int": 0}, {"as_int": k}]),
    ],
    ids=["offsets", "sizes", "strides"],
)
def test_views_of_one_tensor_are_limited_in_total(change: Callable[[Any, int], None], tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(512, 512), torch.rand(3, 512))

    def repeat(config: dict[str, Any]) -> None:
        for k in range(400):
            entry = json.loads(json.dumps(config["weight"]))
            change(entry["tensor_meta"], k)
            config[f"view{k}"] = entry

    assert "bytes, of which 1,050,624 are stored" in refusal(with_config(path, repeat))


@pytest.mark.parametrize(
    "meta",
    [
        {"sizes": [{"as_int": 1 << 40}, {"as_int": 1 << 40}]},
        {"sizes": [{"as_int": -1}, {"as_int": 512}]},
        {"sizes": [{"as_int": -512}, {"as_int": -512}]},
        {"strides": [{"as_int": -512}, {"as_int": 1}]},
        {"strides": [{"as_int": 1 << 62}, {"as_int": 1}]},
        *({"storage_offset": {"as_int": offset}} for offset in (1, -1, 1 << 70)),
        {"sizes": [{"as_int": 10**4000}]},
        {"dtype": 99},
        {"sizes": "512"},
        *({"layout": layout} for layout in (1, 99)),
    ],
)
def test_impossible_views_are_refused(meta: dict[str, Any], tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(512, 512), torch.rand(3, 512))
    refusal(with_config(path, lambda config: config["weight"]["tensor_meta"].update(meta)))


@pytest.mark.parametrize("length", [0, 1, 1 << 19, 1 << 29, (1 << 32) - 2])
def test_a_false_length_in_the_directory_is_refused(length: int, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(512, 512), torch.rand(3, 512))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = [name.encode() for name in archive.namelist() if "data/weights/weight_" in name]
    start = data.rindex(names[0]) - 46  # of its entry in the directory
    data[start + 20 : start + 28] = struct.pack("<II", length, length)
    path.write_bytes(data)
    refusal(path)


def test_one_entry_of_many_dtypes_is_read_once(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(512, 512), torch.rand(3, 512))

    def repeat(config: dict[str, Any]) -> None:
        for k in range(300):
            entry = json.loads(json.dumps(config["weight"]))
            entry["tensor_meta"]["dtype"] = k % 7 + 1
            entry["tensor_meta"]["sizes"] = [{"as_int": 512}, {"as_int": 128 - k // 7}]
            entry["tensor_meta"]["strides"] = [{"as_int": 128}, {"as_int": 1}]
            config[f"view{k}"] = entry

    assert "bytes, of which 1,050,624 are stored" in refusal(with_config(path, repeat))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bogus": 1}, "no argument 'bogus'"),
        ({"loss": "strange"}, "strange"),
        ({"example": np.zeros(3)}, "net.pt2"),
        ({"example": np.zeros((2, 7))}, "net.pt2"),
        ({"example": "picture.png"}, "open: the example is "),
        ({"example": ()}, "open: the example must be an array"),
    ],
)
def test_mistakes_in_the_call_are_not_reported_as_damage(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.Linear(4, 2), torch.rand(3, 4))
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(path, **options)
    assert "is damaged" not in str(caught.value)
    example = np.ones((2, 4))
    assert pellucid.open(path, example.astype(np.float32))(example.astype(np.float32)).shape == (2, 2)


def test_powers_of_sizes_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", Unused(), torch.rand(3, 4))

    def add_power(program: Any) -> None:
        nodes = program["graph_module"]["graph"]["nodes"]
        arguments = [{"name": name, "arg": {"as_int": 9**9}, "kind": 1} for name in "ab"]
        nodes.insert(0, {**nodes[0], "target": "_operator.pow", "inputs": arguments, "outputs": []})

    assert "calls _operator.pow, which is no operator" in refusal(change_program(path, add_power))


def test_long_and_deep_programs_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt2", nn.ReLU(), torch.rand(3, 4))

    def repeat_nodes(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        graph["nodes"] = graph["nodes"] * 10_001

    deep = "[" * 100_000
    original = path.read_bytes()
    assert "has 10,001 nodes, above the limit of 3,000" in refusal(change_program(path, repeat_nodes))
    for text in (deep, '{"graph_module":' + deep, "{" * 3000, "1", "[]", '"a"', "nul", ""):
        buffer = io.BytesIO(rewrite_entry(original, "models/model.json", lambda _, text=text: text.encode()))
        path.write_bytes(buffer.getvalue())
        refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/models/model.json", b" " * (33 << 20))
    assert "above the limit of 33554432" in refusal(path)
