"""Exported programs and their files against the modules they come from, and refused files."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.networks import ConvNeXt, ResNet, ViT
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, build_network, images


def export_program(kind: type[nn.Module]) -> tuple[nn.Module, torch.export.ExportedProgram]:
    network = build_network(kind).eval()
    return network, torch.export.export(network, (images(2),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("kind", [ResNet, ConvNeXt, ViT])
def test_opened_files_have_the_modules_outputs_and_gradients(kind: type[nn.Module], tmp_path: Path) -> None:
    network, program = export_program(kind)
    torch.export.save(program, tmp_path / "net.pt2")
    model = pellucid.open(tmp_path / "net.pt2")
    x = images(3)
    y = model(x)
    torch.testing.assert_close(y, network(x).detach(), rtol=1e-12, atol=1e-12)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))
    other = build_network(kind, seed=9)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(x).detach(), y, rtol=1e-12, atol=1e-12)


def test_a_program_has_the_nodes_of_its_module() -> None:
    network, program = export_program(ResNet)
    nodes = pellucid.open(network, images(2)).net.nodes
    assert pellucid.open(program).net.nodes == nodes


@pytest.mark.parametrize("count", [1, 2])
def test_a_program_for_a_fixed_number_of_examples_opens_for_any(count: int, tmp_path: Path, capsys: Any) -> None:
    network = build_network(ResNet).eval()
    torch.export.save(torch.export.export(network, (images(count),)), tmp_path / "net.pt2")
    model = pellucid.open(tmp_path / "net.pt2")
    assert f"exported for exactly {count} example" in capsys.readouterr().err
    x = images(3)
    y = network(x).detach()
    torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))


class TransposedOutput(nn.Module):
    """A network whose output has the examples in its last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 5)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.dense(x).transpose(0, 1)


def test_outputs_may_have_the_examples_in_another_axis() -> None:
    network, x = TransposedOutput().double(), torch.rand(2, 4, dtype=torch.float64)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.testing.assert_close(pellucid.open(program)(x), network(x).detach())


def test_inputs_that_are_no_tensors_are_refused() -> None:
    program = torch.export.export(TransposedOutput(), (torch.rand(2, 4), 2.0))
    with pytest.raises(PellucidError, match="the program's input scale is no tensor; export it without that input"):
        pellucid.open(program)


def test_a_program_whose_operators_contain_the_number_of_examples_is_refused() -> None:
    program = torch.export.export(build_network(ViT).eval(), (images(2),))
    with pytest.raises(
        PellucidError, match=r"takes exactly 2 examples, and \w+ contains that number; export it with d"
    ):
        pellucid.open(program)


class MergedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1)[:, :2].relu() + x[:, :2]


def test_a_program_that_merges_examples_is_refused() -> None:
    program = torch.export.export(MergedBatch(), (torch.zeros(1, 3),))
    with pytest.raises(PellucidError, match="output 0 differs from the program's"):
        pellucid.open(program)


def test_free_sizes_need_an_example() -> None:
    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    network = nn.Conv2d(3, 4, 3)
    program = torch.export.export(network, (torch.zeros(2, 3, 9, 8),), dynamic_shapes=(free,))
    with pytest.raises(PellucidError, match="leaves axis 2 of its input free; give an example"):
        pellucid.open(program)
    x = torch.randn(3, 3, 12, 7)
    torch.testing.assert_close(pellucid.open(program, x)(x), network(x).detach(), rtol=1e-5, atol=1e-5)


def test_free_sizes_with_a_fixed_number_of_examples_are_refused() -> None:
    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.zeros(2, 3, 9, 8),), dynamic_shapes=(free,))
    with pytest.raises(PellucidError, match="takes exactly 2 examples but leaves other axes free; export it with dyn"):
        pellucid.open(program, torch.zeros(2, 3, 9, 8))


@pytest.fixture(scope="module")
def program_bytes() -> bytes:
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def rewrite_entry(
    data: bytes, name: str, change: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Return the archive with one entry changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry.endswith(name) else content)
    return buffer.getvalue()


class Attack:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_no_pickle_in_a_file_is_run(program_bytes: bytes, tmp_path: Path) -> None:
    path, mark = tmp_path / "net.pt2", tmp_path / "ran"
    attack = pickle.dumps(Attack(mark))
    path.write_bytes(rewrite_entry(program_bytes, "sample_inputs/model.pt", lambda _: attack))
    assert pellucid.open(path)(torch.ones(2, 3)).shape == (2, 2)

    def pickled(content: bytes) -> bytes:
        config = json.loads(content)
        config["config"]["weight"]["use_pickle"] = True
        return json.dumps(config).encode()

    hostile = rewrite_entry(program_bytes, "weights/weight_0", lambda _: attack)
    path.write_bytes(rewrite_entry(hostile, "model_weights_config.json", pickled))
    with pytest.raises(PellucidError, match=r"net\.pt2 stores weight as a pickle, which may run code; save tensors"):
        pellucid.open(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Symbol('s", "__import__('os').getpid() or Symbol('s", "which is more than arithmetic"),
        ("torch.ops.aten.linear.default", "torch.hub.load", "calls torch.hub.load, which is no operator of PyTorch"),
        ("torch.ops.aten.linear.default", "torch.ops.aten.strange.default", "which is no operator of PyTorch"),
        ("torch.ops.aten.linear.default", "torch.ops.aten.save.default", "which is no operator of PyTorch"),
        ("torch.ops.aten.linear.default", "torch.ops.aten.from_file.default", "which is no operator of PyTorch"),
        ("torch.ops.aten.linear.default", "_operator.call", "which is no operator of PyTorch"),
        ('"as_tensor"', '"as_operator"', "has an argument as_operator, which is no value"),
        ("builtins.tuple", "collections.defaultdict", "of other parts than tuples, lists and dicts"),
        (r"\"context\": \"null\"", r"\"context\": \"{\\\"__enum__\\\": true}\"", "of other parts than tuples"),
    ],
)
def test_programs_that_do_more_than_compute_are_refused(
    program_bytes: bytes, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(
        rewrite_entry(program_bytes, "models/model.json", lambda text: text.replace(old.encode(), new.encode()))
    )
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(path)
    assert "\n" not in str(caught.value)


class CreatesTensors(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(7, 3).sum(0)


def test_programs_that_create_huge_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    program = torch.export.export(CreatesTensors(), (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, path)
    x = torch.randn(4, 3)
    assert torch.equal(pellucid.open(path)(x), x + 7)
    for sizes in (b"[1073741824, 3]", b"[12000000, 3]", b"[9223372036854775807, 3]"):
        data = rewrite_entry(path.read_bytes(), "model.json", lambda text, new=sizes: text.replace(b"[7, 3]", new))
        (tmp_path / "huge.pt2").write_bytes(data)
        with pytest.raises(PellucidError, match=r"huge\.pt2.*(more than 33,554,432 values|fails)"):
            pellucid.open(tmp_path / "huge.pt2")


def test_damaged_files_are_refused_in_one_line(program_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with pytest.raises(PellucidError, match="is missing"):
        pellucid.open(path)
    damaged = [
        b"",
        program_bytes[: len(program_bytes) // 2],
        rewrite_entry(program_bytes, "weight_0", lambda content: content[:5]),
        rewrite_entry(program_bytes, "weight_0", bytes, zipfile.ZIP_DEFLATED),
        program_bytes.replace(b"weight_0", b"weight_9"),
        rewrite_entry(
            program_bytes, "weights_config.json", lambda text: text.replace(b'"as_int": 2', b'"as_int": 1073741824')
        ),
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(PellucidError) as caught:
            pellucid.open(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"net\.pth is neither an ONNX file \(\.onnx\) nor an exported program"):
        pellucid.open(tmp_path / "net.pth")


def test_a_module_needs_an_example() -> None:
    with pytest.raises(PellucidError, match="ReLU needs an example of its input"):
        pellucid.open(nn.ReLU())
