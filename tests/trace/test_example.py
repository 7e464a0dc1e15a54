"""The example explain_a_weight.py runs and prints a product that equals the gradient."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "explain_a_weight.py"


def test_the_product_of_the_factors_is_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    page = tmp_path / "weight.html"
    monkeypatch.setattr(sys, "argv", ["explain_a_weight.py", "-o", str(page)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    output = capsys.readouterr().out
    match = re.search(r"delta times activation is (\S+), the gradient (\S+)", output)
    assert match is not None
    assert match[1] == match[2]
    assert "pellucid" in page.read_text(encoding="utf-8")
