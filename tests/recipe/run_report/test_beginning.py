"""A report begins with what came of the training; what is long is folded."""

from pathlib import Path

import pytest

from pellucid.recipe.run_report import ReportData
from pellucid.recipe.run_report.diagnosis import DOCTOR_TEXT, diagnosis
from pellucid.report.sections import Section, TablePart
from pellucid.task import Merit
from tests.recipe.run_report.test_report import full_report_data, write_and_parse

RUN_OF_4 = [(1.0, 1.1), (0.6, 0.8), (0.3, 0.9), (0.1, 1.2)]  # training and held-out loss by epoch
BASELINE = {"accuracy": 0.5, "name": "the most frequent class"}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (RUN_OF_4, "lowest, 0.8, in epoch 2 of 4, and 1.2 in the last one; the training loss went from 0.6 to 0.1 "
         "between them, so the network overfits."),
        (RUN_OF_4[:2], "lowest, 0.8, in epoch 2 of 2, the last one: more epochs may lower it further."),
        ([(0.6, 0.8), (0.5, 0.81)], "from 0.6 to 0.5 between them."),  # a rise of 1 % is no overfitting
        ([(0.6, 0.8), (0.7, 0.9)], "from 0.6 to 0.7 between them."),  # both losses rose
    ],
)  # fmt: skip
def test_a_report_begins_with_the_course_of_the_training(losses: list[tuple[float, float]], expected: str) -> None:
    history = [{"epoch": k, "train_loss": train, "val_loss": val} for k, (train, val) in enumerate(losses, 1)]
    sentence, doctor = diagnosis({}, (Merit("accuracy", "accuracy"),), history, "validation")
    assert isinstance(sentence, str)
    assert sentence.startswith("The validation loss was lowest")
    assert sentence.endswith(expected)
    assert doctor == DOCTOR_TEXT


def test_without_losses_nothing_is_said_about_the_course() -> None:
    merits = (Merit("accuracy", "accuracy"),)
    assert diagnosis({}, merits, [{"epoch": k, "val_accuracy": 0.5} for k in (1, 2)], "validation") == []
    assert diagnosis({}, merits, [{"epoch": k, "train_loss": 1.0, "val_loss": None} for k in (1, 2)], "test") == []


@pytest.mark.parametrize(("accuracy", "is_above"), [(0.75, True), (0.5, False)])
def test_a_report_begins_with_the_figure_and_its_baseline(accuracy: float, is_above: bool, tmp_path: Path) -> None:
    metrics = {"accuracy": accuracy, "loss": 0.1, "baseline": BASELINE}
    _, page = write_and_parse(tmp_path, ReportData(**{**vars(full_report_data()), "metrics": metrics}))
    sentence = f"Test accuracy {100 * accuracy:.2f} %; baseline: accuracy 50.00 % by the most frequent class"
    assert page.text.index(sentence) < page.text.index("test loss")
    assert ("NOT BETTER" in page.text) is not is_above
    assert ("warned" in {values.get("class") for _, values in page.elements}) is not is_above


def test_long_tables_and_texts_are_folded(tmp_path: Path) -> None:
    data = ReportData(
        **{**vars(full_report_data()), "recipe_text": "\n".join(f"key{k} = {k}" for k in range(40)),
           "sections": [Section("long", "Long", [TablePart("Rows", ("a", "b"), [("x", "1")] * 21)]),
                        Section("short", "Short", [TablePart("Rows", ("a", "b"), [("x", "1")] * 20)])]}
    )  # fmt: skip
    _, page = write_and_parse(tmp_path, data)
    for name, is_folded in (("long", True), ("short", False), ("recipe", True), ("reproduce", False)):
        assert ("details" in page.sections[name]) is is_folded
    assert "Rows, 21 rows" in page.text
    assert "40 lines" in page.text
