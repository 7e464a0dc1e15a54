"""The page about the user's own parts: its code runs from top to bottom, and its result is what onnxruntime says."""

import re
from pathlib import Path

import onnxruntime
import pytest
import torch

from pellucid.layers.base import Mode
from pellucid.registry import REGISTERED
from pellucid.sweep import forward

PAGE = Path(__file__).parents[2] / "docs" / "your-own-parts.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pellucid.registry.REGISTERED", dict(REGISTERED))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 12
    names = {"__name__": "page"}
    exec(compile("\n".join(blocks), PAGE, "exec"), names)
    assert "scale.factor[1, 0, 0]" in capsys.readouterr().out
    assert (tmp_path / "runs/own/weights/best.safetensors").is_file()
    model, digits = names["same"], names["digits"]
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    said = torch.from_numpy(session.run(None, {"input": digits.test.x.float().numpy() / 255})[0])
    scores, _ = forward(model.net, model.params, digits.test.x.float() / 255, Mode())
    torch.testing.assert_close(said, scores, rtol=1e-4, atol=1e-5)
    assert names["rates"] == pytest.approx([3e-3, 1.5e-3, 0.75e-3])
    check_rules(names)
    rows = names["history"].rows
    assert all(abs(row["val_hard_loss"] + 0.5 * row["val_soft_loss"] - row["val_loss"]) < 1e-6 for row in rows)


def check_rules(names):
    """The optimizer's first step is lr along the gradient's signs; the regularizer's gradient is its cost's."""
    rng = torch.Generator().manual_seed(0)
    start, grad = torch.randn(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    weight, optimizer = start.clone(), names["SignMomentum"](0.25)
    optimizer.update([weight], [grad], optimizer.init([weight]), 0.25)
    torch.testing.assert_close(weight, start - 0.25 * grad.sign())
    leaf, result = start.clone().requires_grad_(True), torch.zeros(4, 3)
    names["Smooth"](0.5).cost([leaf], 7).backward()
    names["Smooth"](0.5).add_gradient([start], [result], 7)
    torch.testing.assert_close(result, leaf.grad)
    shrunk = start.clone()
    names["Smooth"](0.5, decoupled=True).shrink([shrunk], 0.1)
    torch.testing.assert_close(shrunk, start - 0.1 * 7 * result)
