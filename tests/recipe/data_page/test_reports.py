"""The reports of a run and of the doctor begin with the data; targets of a plugin's own kind are shown as text."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid.cli.main import main
from pellucid.data.source import Batch


@pytest.mark.slow
@pytest.mark.heavy
def test_reports_begin_with_the_data(tmp_path: Path) -> None:
    assert main(["train", "digits", "train.epochs=1", "--out", str(tmp_path)]) == 0
    run = tmp_path / "digits-1"
    assert main(["doctor", str(run), "--budget", "0", "--html", str(tmp_path / "doctor.html")]) == 0
    report, doctor = run / "report.html", tmp_path / "doctor.html"
    for file, limit in ((report, 1_000_000), (doctor, 500_000)):
        text = file.read_text(encoding="utf-8")
        assert next(iter(re.findall(r"<h2>(?:<span[^>]*></span>)?([^<]*)", text))) == "Data"
        assert ">1,438<" in text
        assert len(text) < limit


class Sentences:
    """A source with targets of a kind that the library does not know."""

    classes = None
    checksum = ""

    def __len__(self) -> int:
        return 12

    def batch(self, indices: Any, rng: torch.Generator) -> Batch:
        images = torch.stack([torch.full((1, 8, 8), k / 12) for k in indices])
        return Batch(images, [{"text": f"<b>picture {k}</b>"} for k in indices])


def test_targets_of_another_kind_are_shown_as_escaped_text() -> None:
    page = pellucid.data_page(Sentences())
    caption, _ = page.pictures["training"][0]
    assert "<b>picture 0</b>" in caption
    assert "<b>picture" not in page.html()
    assert page.to_json()["parts"]["training"]["traits"].keys() >= {"brightness", "largest value"}
