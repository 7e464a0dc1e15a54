"""The page for users of PyTorch shows what its script and three lines print."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/how-to/coming-from-pytorch.md"


@pytest.mark.slow
@pytest.mark.heavy
def test_the_page_shows_what_its_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks[:3]] == ["python", "python", "text"]
    exec(compile("".join(code for _, code in blocks[:2]), PAGE.name, "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out
    shown = blocks[2][1]
    without_numbers = [re.sub(r"-?\d+(\.\d+)?", "#", part).split() for part in (printed, shown)]
    assert without_numbers[0][: len(without_numbers[1])] == without_numbers[1]
    numbers = [[float(number) for number in re.findall(r"-?\d+\.\d+", part)] for part in (printed, shown)]
    assert numbers[0][: len(numbers[1])] == pytest.approx(numbers[1], abs=0.1)  # other processors round otherwise
