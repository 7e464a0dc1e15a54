"""The call stack from the command `train` to the first convolution has few functions, which are short."""

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import pellucid
from pellucid.cli.main import main
from pellucid.data import CATALOGUE, catalogue, write_idx

MAX_FRAMES = 17
MAX_LINES = 40
ROOT = Path(pellucid.__file__).parent


def write_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write 64 blank images of MNIST's shape, and replace the checksums in the catalogue by those of the files."""
    entry, sources = CATALOGUE["mnist"], list[Any]()
    folder = root / entry.path
    folder.mkdir(parents=True)
    for index, source in enumerate(entry.sources):  # images and labels alternate
        write_idx(folder / source.file, torch.zeros((64,) if index % 2 else (64, 28, 28), dtype=torch.uint8))
        md5 = hashlib.md5((folder / source.file).read_bytes()).hexdigest()
        sources.append(replace(source, md5=md5, sha256=""))
    monkeypatch.setitem(catalogue.CATALOGUE, entry.name, replace(entry, sources=tuple(sources)))


def frames(innermost: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of Pellucid's functions on the stack, the innermost first."""
    while innermost is not None:
        if Path(innermost.f_code.co_filename).is_relative_to(ROOT):
            yield innermost
        innermost = innermost.f_back


def frame_name(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).relative_to(ROOT)} {frame.f_code.co_qualname}"


def line_count(frame: FrameType) -> int:
    """Return the number of lines of a frame's function, from its syntax tree."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(frame.f_code))).body
    assert tree.end_lineno is not None
    return tree.end_lineno - tree.lineno + 1


@pytest.mark.usefixtures("no_report")
def test_few_short_functions_lead_from_the_command_to_the_first_convolutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[tuple[str, ...]] = []
    lengths: dict[str, int] = {}
    convolve = torch.conv2d

    def recording_conv2d(x: Any, *positional: Any, **keywords: Any) -> Any:
        if not x.is_meta:
            stack = [*frames(sys._getframe(1))]
            stacks.append(tuple(map(frame_name, reversed(stack))))
            if any("Loop.run" in one for one in stacks[-1]):
                lengths.update((frame_name(frame), line_count(frame)) for frame in stack)
        return convolve(x, *positional, **keywords)

    write_mnist(tmp_path / "data", monkeypatch)
    monkeypatch.setattr(torch, "conv2d", recording_conv2d)
    monkeypatch.setattr(torch.nn.functional, "conv2d", recording_conv2d)
    arguments = ("mnist-lenet", "train.epochs=1", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs"))
    assert main(["train", *arguments, "--json"]) == 0
    first_stack = stacks[0]
    steps = [stack for stack in stacks if not any("on_epoch_end" in one for one in stack)]  # without those of callbacks
    training = [stack for stack in steps if any("Loop.run" in one for one in stack)]
    step_stack = next(stack for stack in training if any("TrainingStep" in one for one in stack))
    assert first_stack in training
    assert len(first_stack) <= MAX_FRAMES, first_stack
    assert len(step_stack) <= MAX_FRAMES, step_stack
    assert max(map(len, training)) <= MAX_FRAMES, max(training, key=len)
    assert {function: count for function, count in lengths.items() if count > MAX_LINES} == {}
