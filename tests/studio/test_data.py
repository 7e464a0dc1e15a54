"""The view Data: pages of recipes, runs and own data; data that a run names elsewhere are not read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.base.files import write_atomically
from pellucid.model import Model
from pellucid.recipe.recipe import load_recipe
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from tests.studio.talk import Tab


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(12):
        file = tmp_path / "pets" / "ab"[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(file)
    return tmp_path / "pets"


def tab(tmp_path: Path, *data: str) -> Tab:
    return Tab(Library(("mnist-lenet",), Model.load, Runs(tmp_path / "runs", data)))


def add_run(tmp_path: Path, data: str) -> None:
    recipe = load_recipe("signs-best", {"data.name": data, "network.classes": 2})
    (tmp_path / "runs" / "one").mkdir(parents=True)
    write_atomically(tmp_path / "runs" / "one" / "recipe.toml", recipe.to_toml().encode())


def test_data_of_a_recipe(tmp_path: Path) -> None:
    opened = tab(tmp_path).ask("data.open")
    assert (opened["own"], opened["runs"]) == ([], [])
    shown: Any = tab(tmp_path).ask("data.show", name="digits")
    assert shown["page"]["parts"]["test"]["examples"] == 359
    assert shown["tables"][0][1][1] == ["examples", "1,438", "359"]
    assert shown["pictures"]["training"][0][1].startswith("data:image/png;base64,")


def test_own_data_are_planned_and_shown(tmp_path: Path, folder: Path) -> None:
    one = tab(tmp_path, str(folder))
    assert one.ask("data.open")["own"] == [str(folder)]
    assert sum(part["examples"] for part in one.ask("data.show", name=str(folder))["page"]["parts"].values()) == 12


def test_data_of_a_run_are_read_only_if_they_were_given(tmp_path: Path, folder: Path) -> None:
    add_run(tmp_path, str(folder))
    refused = tab(tmp_path).ask("data.show", name="one")
    assert refused["kind"] == "error"
    assert "outside its run folder" in refused["message"]
    assert tab(tmp_path, str(folder)).ask("data.show", name="one")["kind"] == "data.show"


def test_other_names_are_refused(tmp_path: Path, folder: Path) -> None:
    for name in ("", str(folder), "../pets"):
        assert "no data" in tab(tmp_path).ask("data.show", name=name)["message"]


def test_copies_and_what_is_left_out_are_named_by_their_files(tmp_path: Path, folder: Path) -> None:
    rng = np.random.default_rng(1)
    for part in ("train", "test"):
        for k in range(6):
            file = tmp_path / "cells" / part / "ab"[k % 2] / f"{part}{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(file)
    copied = tmp_path / "cells" / "train" / "a" / "train0.png"
    (tmp_path / "cells" / "test" / "a" / "again.png").write_bytes(copied.read_bytes())
    (tmp_path / "cells" / "test" / "a" / "broken.png").write_bytes(b"no picture")
    shown: Any = tab(tmp_path, str(tmp_path / "cells")).ask("data.show", name=str(tmp_path / "cells"))
    text = "\n".join(line for _, lines in shown["lists"] for line in lines)
    assert "again.png" in text
    assert "train0.png" in text
    assert "broken.png" in text


@pytest.mark.parametrize("columns", [["level_mm"], ["level_mm", "tilt_deg"], ["x", "y", "z"]])
def test_numbers_of_a_table_are_named_by_their_columns(tmp_path: Path, columns: list[str]) -> None:
    rng = np.random.default_rng(2)
    values = rng.uniform(1, 100, (24, len(columns))).round(2)
    (tmp_path / "gauges").mkdir()
    lines = [",".join(["file", *columns])]
    for k, row in enumerate(values.tolist()):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / "gauges" / f"{k}.png")
        lines.append(",".join([f"{k}.png", *map(str, row)]))
    (tmp_path / "gauges" / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    shown: Any = tab(tmp_path, str(tmp_path / "gauges")).ask("data.show", name=str(tmp_path / "gauges"))
    text = "\n".join(row[0] for _, rows in shown["tables"] for row in rows)
    names = [column.partition("_")[0] for column in columns]  # without the units
    for name in names:
        assert f"{name} of the targets" in text
    assert "column 0" not in text
    captions = {caption.partition(";")[0] for drawn in shown["pictures"].values() for caption, *_ in drawn}
    assert captions <= {", ".join(f"{name} {v:.4g}" for name, v in zip(names, row, strict=True)) for row in values}
