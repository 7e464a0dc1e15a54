"""The example runs as it stands."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "explain_a_weight.py"


def test_the_product_of_the_factors_is_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    out = tmp_path / "weight.html"
    monkeypatch.setattr(sys, "argv", ["explain_a_weight.py", "-o", str(out)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = capsys.readouterr().out
    match = re.search(r"delta times activation is (\S+), the gradient (\S+)", said)
    assert match is not None
    assert match[1] == match[2]
    assert "pellucid" in out.read_text(encoding="utf-8")
