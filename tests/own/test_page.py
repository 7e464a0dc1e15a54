"""The code of docs/your-own-parts.md runs from top to bottom, and its model agrees with onnxruntime."""

import re
from pathlib import Path

import onnxruntime
import pytest
import torch

from pellucid.extend.registry import REGISTERED
from pellucid.layers.base import Mode
from pellucid.sweep import forward

PAGE = Path(__file__).parents[2] / "docs" / "your-own-parts.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", dict(REGISTERED))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 12
    namespace = {"__name__": "page"}
    exec(compile("\n".join(blocks), PAGE, "exec"), namespace)
    assert "scale.factor[1, 0, 0]" in capsys.readouterr().out
    assert (tmp_path / "runs/own/weights/best.safetensors").is_file()
    model, digits = namespace["same"], namespace["digits"]
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    onnx_scores = torch.from_numpy(session.run(None, {"input": digits.test.x.float().numpy() / 255})[0])
    scores, _ = forward(model.net, model.params, digits.test.x.float() / 255, Mode())
    torch.testing.assert_close(onnx_scores, scores, rtol=1e-4, atol=1e-5)
    assert namespace["rates"] == pytest.approx([3e-3, 1.5e-3, 0.75e-3])
    check_rules(namespace)
    rows = namespace["history"].rows
    assert all(abs(row["val_hard_loss"] + 0.5 * row["val_soft_loss"] - row["val_loss"]) < 1e-6 for row in rows)


def check_rules(namespace):
    """The optimizer's first update is -lr times the gradient's sign; the regularizer's gradient is that of its cost."""
    rng = torch.Generator().manual_seed(0)
    initial, grad = torch.randn(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    weight, optimizer = initial.clone(), namespace["SignMomentum"](0.25)
    optimizer.update([weight], [grad], optimizer.init([weight]), 0.25)
    torch.testing.assert_close(weight, initial - 0.25 * grad.sign())
    leaf, result = initial.clone().requires_grad_(True), torch.zeros(4, 3)
    namespace["Smooth"](0.5).cost([leaf], 7).backward()
    namespace["Smooth"](0.5).add_gradient([initial], [result], 7)
    torch.testing.assert_close(result, leaf.grad)
    shrunk_weight = initial.clone()
    namespace["Smooth"](0.5, decoupled=True).shrink([shrunk_weight], 0.1)
    torch.testing.assert_close(shrunk_weight, initial - 0.1 * 7 * result)
