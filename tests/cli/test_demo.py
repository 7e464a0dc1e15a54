"""`pellucid demo` writes a page of five sections, whose numbers equal those computed by the library."""

import html
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from pellucid import Model
from pellucid.base.text import percent
from pellucid.explain.examine import examine
from pellucid.tasks.pictures import read_picture
from tests.cli.conftest import Cli
from tests.pages import without_script

pytestmark = pytest.mark.slow
NUMBER = r"[\u2212\d.e]+"
LINE_STARTS = {
    "trained": "trained",
    "answer": "explained",
    "derivative": "derived",
    "objects": "found",
    "colours": "coloured",
}


def table_cells(text: str) -> list[list[str]]:
    """Return the cells of a table's body, by row."""
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>") if "<tr>" in row]


@pytest.fixture
def demo_output(cli: Cli) -> tuple[list[str], dict[str, str]]:
    """The output lines of the command, and the text of each section of the page."""
    result = cli("demo")
    assert result.code == 0, result.err
    page = Path("runs/digits-1/demo.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", without_script(page)), "one file, with nothing beside it"
    sections = dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.DOTALL))
    return result.out.splitlines(), {name: html.unescape(text) for name, text in sections.items()}


def test_each_part_is_shown_and_agrees_with_the_library(demo_output: tuple[list[str], dict[str, str]]) -> None:
    lines, sections = demo_output
    assert list(sections) == list(LINE_STARTS)
    assert [line.split(":")[0] for line in lines[:5]] == list(LINE_STARTS.values())
    assert lines[5:7] == ["  report  runs/digits-1/report.html", "  page    runs/digits-1/demo.html"]
    for text in sections.values():
        assert "<svg" in text or "<img" in text or 'class="frac"' in text
        assert "pellucid " in text, "the command that makes it"
    run, samples = Model.load("runs/digits-1"), Path("runs/digits-1/samples")
    digit = samples / "digit.png"

    measured = json.loads(Path("runs/digits-1/results.json").read_text(encoding="utf-8"))
    result = f"{percent(measured['accuracy'])} of {measured['n']} digits right"
    assert result in lines[0]
    assert result in sections["trained"]

    x = read_picture(run, digit)
    answer = run.predict(digit)[0]
    assert f"as {answer.label}, with {percent(answer.confidence or 0.0)}" in sections["answer"]
    for actual in examine(run, x, ("saliency", "lrp")).results:
        assert actual.method in sections["answer"]
        assert "; ".join(f"{test}: {verdict.text}" for test, verdict in actual.verdicts.items()) in sections["answer"]

    name, *numbers = re.findall(rf"\u2202C/\u2202(\S+, \d+\]) = ({NUMBER}) \u00d7 ({NUMBER}) = ({NUMBER})", lines[2])[0]
    first, second, product = (float(number.replace("\u2212", "-")) for number in numbers)
    gradient = run.trace(x[None], [3]).explain(name).gradient
    assert product == pytest.approx(gradient, rel=1e-4)
    assert first * second == pytest.approx(gradient, rel=1e-4)
    assert f"= {numbers[0]} \u00d7 {numbers[1]}" in sections["derivative"]

    boxes = Model.load("bccd").predict(samples / "cells.jpg")[0]
    assert lines[3].startswith(f"found: {len(boxes.values['detections'])} objects")
    rows = {row[0]: row[1:] for row in table_cells(sections["objects"])}
    assert {name: int(actual) for name, (actual, *_) in rows.items()} == Counter(boxes.labels)

    assert sections["colours"].count("<img") == 3
    assert "grey" in sections["colours"]
