"""`pellucid calc` prints the numbers of ../shared/facts/learn.md, and one line for invalid input."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

PREDICTED_CSV = "image,class,score,x0,y0,x1,y1\na,cat,0.9,0,0,10,9\na,cat,0.8,50,0,60,10\n"
TRUE_BOXES = [
    {"image": "a", "class": "cat", "x0": 0, "y0": 0, "x1": 10, "y1": 10},
    {"image": "a", "class": "cat", "x0": 30, "y0": 0, "x1": 40, "y1": 10},
]


def test_conv_prints_the_output_size(cli: Cli):
    words = ("calc", "conv", "227", "11", "--stride", "4", "--channels", "3", "--filters", "96")
    output = cli(*words, "--json").json
    assert output["output_shape"] == [96, 55, 55]
    assert (output["output_size"], output["weights"], output["parameters"]) == (55, 34_848, 34_944)
    assert "34,944" in cli(*words).out
    assert cli("calc", "conv", "10", "3", "--dilation", "2", "--json").json["output_size"] == 6


def test_params_prints_the_parameter_counts(cli: Cli):
    words = ("calc", "params", "1x28x28", "Flatten, Dense(20)", "Dense(10), Dense(5)")
    output = cli(*words, "--json").json
    assert (output["weights"], output["biases"], output["parameters"]) == (15_930, 35, 15_965)
    assert output["hessian_entries"] == 15_965 * 15_966 // 2
    assert "parameters: 15,965" in cli(*words).out


def test_receptive_field_prints_window_and_stride(cli: Cli):
    words = ("calc", "receptive-field", "Conv2d(1, 3)", "Conv2d(1, 3), MaxPool2d(2)")
    output = cli(*words, "--json").json
    assert [row["field"] for row in output["layers"]] == [[3, 3], [5, 5], [6, 6]]
    assert (output["receptive_field"], output["step"]) == ([6, 6], [2, 2])
    assert "5 x 5" in cli(*words).out


def test_iou_prints_the_overlap(cli: Cli):
    words = ("calc", "iou", "189,201,185", "31,50,23")
    output = cli(*words, "--json").json
    assert output["iou"] == pytest.approx([0.902, 0.397], abs=5e-4)
    assert output["mean_iou"] == pytest.approx(0.65, abs=1e-3)
    assert "for mean average precision (mAP)" in output["note"]
    assert "for mean average precision (mAP)" in cli(*words).out


def test_map_prints_the_average_precision(cli: Cli, tmp_path: Path):
    Path("found.csv").write_text(PREDICTED_CSV)
    Path("true.json").write_text(json.dumps(TRUE_BOXES))
    output = cli("calc", "map", "found.csv", "true.json", "--json").json
    assert output["classes"]["cat"] == {
        "truths": 2, "detections": 2, "hits": 1, "area": 0.5, "eleven": pytest.approx(6 / 11)
    }  # fmt: skip
    assert output["map"] == {"area": 0.5, "eleven": pytest.approx(6 / 11)}
    assert cli("calc", "map", "found.csv", "true.json", "--iou", "0.95", "--json").json["map"]["area"] == 0
    assert "0.5455" in cli("calc", "map", "found.csv", "true.json").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conv", "3", "5"], "smaller than the window"),
        (["conv", "0", "1"], "at least 1"),
        (["conv", "9" * 20, "3"], "the layers are too large"),
        (["conv", "28", "3", "--filters", "9" * 20], "the layers are too large"),
        (["conv", "5", "x"], "argument K"),
        (["conv", "5", "3", "--stride", "0"], "stride"),
        (["params", "axb", "Dense(2)"], "'axb' is not a shape"),
        (["params", "0", "Dense(2)"], "'0' is not a shape"),
        (["params", "784"], "LAYERS"),
        (["params", "784", "Dens(2)"], "did you mean 'Dense'?"),
        (["receptive-field", "Flatten"], "not one window"),
        (["receptivefield", "Flatten"], "did you mean 'receptive-field'?"),
        (["iou", "1,2"], "is not three areas"),
        (["iou", "1,2,x"], "is not three areas"),
        (["iou", "nan,1,1"], "finite"),
        (["iou", "0,0,0"], "above 0"),
        (["iou", "1,2,3"], "the intersection must be"),
        (["map", "a.txt", "b.txt"], "'a.txt' does not end in .csv or .json"),
        (["map", "a.csv", "b.csv"], "a.csv"),
    ],
)
def test_invalid_input_is_reported_in_one_line(words: list[str], message: str, cli: Cli):
    assert message in cli("calc", *words).error_line


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", PREDICTED_CSV.replace("0.9", "high"), "box 1: score is 'high'"),
        ("p.csv", PREDICTED_CSV.replace("0.9", "nan"), "box 1: score is 'nan'"),
        ("p.csv", PREDICTED_CSV.replace("0.9", ""), "box 1 has no score"),
        ("p.csv", PREDICTED_CSV.replace("score", "sure"), "box 1 has no score"),
        ("p.csv", PREDICTED_CSV.replace("50,0,60", "70,0,60"), "box 2 is (70, 0, 60, 10)"),
        ("p.csv", PREDICTED_CSV + "a,cat\n", "box 3 has no x0"),
        ("p.json", "[1]", "box 1 has no image"),
        ("p.json", "{}", "not a list of boxes"),
        ("p.json", "[", "not a JSON file"),
        ("p.json", json.dumps([{**TRUE_BOXES[0], "score": True}]), "score is True"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(name: str, text: str, message: str, cli: Cli):
    Path(name).write_text(text)
    Path("true.json").write_text(json.dumps(TRUE_BOXES))
    assert message in cli("calc", "map", name, "true.json").error_line


def test_class_names_are_read_as_text(cli: Cli):
    rows = [{**TRUE_BOXES[0], "class": "esc\x1b[31m\n", "score": 0.5}]
    Path("p.json").write_text(json.dumps(rows))
    result = cli("calc", "map", "p.json", "p.json")
    assert result.code == 0
    assert result.out.replace("\n", "").isprintable()
    assert cli("calc", "map", "p.json", "p.json", "--json").json["classes"]["esc\x1b[31m\n"]["hits"] == 1


def test_map_without_true_boxes_is_refused(cli: Cli):
    Path("p.csv").write_text(PREDICTED_CSV)
    Path("true.json").write_text("[]")
    assert "no true boxes" in cli("calc", "map", "p.csv", "true.json").error_line
    assert "threshold" in cli("calc", "map", "p.csv", "p.csv", "--iou", "2").error_line
