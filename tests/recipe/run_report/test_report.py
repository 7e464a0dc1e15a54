"""Reports of runs: one HTML file with all sections, which loads no external files and shows missing values."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data.dataset import Dataset, float_images
from pellucid.layers import Conv2d, Dense, Flatten, Mode, Params, Sigmoid
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.metrics import class_scores
from pellucid.network.summary import summary
from pellucid.objective import Supervised
from pellucid.recipe.run_report import ReportData, read_report_data, write_report
from pellucid.recipe.run_report.classes import class_rows, class_sections, common_confusions
from pellucid.recipe.run_report.data import first_weights
from pellucid.recipe.run_report.page import duration
from pellucid.report.sections import Section
from pellucid.run.history import write_csv
from pellucid.tasks.classify.report import Mistakes, mistakes_part, select_mistakes
from tests.pages import without_script


def mistakes_section(images: np.ndarray, true: str, predicted: str) -> Section:
    """Return the section of one mistake."""
    return Section("mistakes", "Worst mistakes", [mistakes_part(Mistakes(images, [true], [predicted], [0.81], 1))])


VOID_ELEMENTS = {"meta", "br", "img", "link"}
CLASSIFICATION_SECTIONS = ("confusion", "classes", "mistakes")
SECTIONS = (
    "curves", *CLASSIFICATION_SECTIONS, "details", "reproduce", "network", "recipe", "manifest",
)  # fmt: skip
HISTORY = [
    {"epoch": k, "lr": 0.1, "train_loss": 1 / k, "val_loss": 1.2 / k, "train_accuracy": 1 - 0.5 / k,
     "val_accuracy": 1 - 0.6 / k, "seconds": 2.0, "images_per_second": 500.0 * k}
    for k in (1, 2, 3)
]  # fmt: skip
LAYERS = [{"epoch": k, "path": "hidden.weight", "grad_norm": 0.1 / k, "update_ratio": 1e-3} for k in (1, 2, 3)]


class ParsedPage(HTMLParser):
    """Parser of a page, which checks the nesting of elements and collects sections, elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_elements: list[str] = []
        self.sections: dict[str, list[str]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert self.open_elements == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "section":
            self._section = values["id"] or ""
            self.sections[self._section] = []
        if self._section:
            self.sections[self._section].append(tag)
        if tag not in VOID_ELEMENTS:
            self.open_elements.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_elements.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def full_report_data() -> ReportData:
    net = Sequential(flat=Flatten(), hidden=Dense(5), act=Sigmoid(), out=Dense(2))
    return ReportData(
        recipe="digits",
        command="pellucid train digits seed=3",
        about="Two classes",
        metrics={
            "accuracy": 0.975,
            "loss": 0.1234,
            "n": 40,
            "seconds": 125.0,
            "images_per_second": 1234.5,
            "epochs": 3,
        },
        history=HISTORY,
        layers=LAYERS,
        sections=[
            *class_sections(np.array([[20, 0], [1, 19]]), ("cat", "dog")),
            mistakes_section(np.full((1, 1, 6, 6), 0.5, dtype=np.float32), "dog", "cat"),
        ],
        first_path="hidden.weight",
        first_weights=np.random.default_rng(0).normal(size=(5, 1, 6, 6)).astype(np.float32),
        summary=summary(net, None, (1, 6, 6)),
        recipe_text='[recipe]\nname = "digits"\n',
        manifest={"seed": 3, "torch": "2.13.0", "data": {"train": "ab" * 32}, "weights_sha256": "cd" * 32},
    )


def write_and_parse(folder: Path, data: ReportData) -> tuple[str, ParsedPage]:
    text = write_report(folder, data).read_text(encoding="utf-8")
    return text, ParsedPage(without_script(text))


def test_every_section_has_its_figure_or_table(tmp_path: Path) -> None:
    _, page = write_and_parse(tmp_path, full_report_data())
    assert tuple(page.sections) == SECTIONS
    for name, count in (("curves", 2), ("confusion", 1), ("mistakes", 1), ("details", 4)):
        assert page.sections[name].count("svg") == count
    for name in ("classes", "network", "manifest"):
        assert "table" in page.sections[name]
    for word in ("97.50 %", "0.1234", "2 min 5 s", "1,234", "pellucid train digits seed=3", "dog → cat (once)",
                 "ab" * 32, "weights_sha256", 'name = "digits"', "hidden", "Dense(5)"):  # fmt: skip
        assert word in page.text
    assert "missing" not in {values.get("class") for _, values in page.elements}


def test_the_report_loads_no_external_files(tmp_path: Path) -> None:
    text, page = write_and_parse(tmp_path, full_report_data())
    for tag, values in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert re.match(r"#|data:image/png;base64,", values.get(name) or "#"), (tag, values)
    assert "://" not in text
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_links_and_clip_paths_refer_to_unique_ids(tmp_path: Path) -> None:
    text, page = write_and_parse(tmp_path, full_report_data())
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    expected = {values["href"] for _, values in page.elements if (values.get("href") or "").startswith("#")}
    expected |= set(re.findall(r"url\((#[^)]*)\)", text))
    assert {name[1:] for name in expected if name} <= set(ids)


def test_figures_have_alternative_text(tmp_path: Path) -> None:
    _, page = write_and_parse(tmp_path, full_report_data())
    pictures = [values for tag, values in page.elements if tag == "svg"]
    assert len(pictures) == 8
    assert all(values["role"] == "img" and values["aria-label"] for values in pictures)
    assert any("dog predicted as cat" in (values["aria-label"] or "") for values in pictures)
    assert all(values.get("scope") for tag, values in page.elements if tag == "th")
    assert ("html", {"lang": "en"}) in page.elements
    assert [tag for tag, _ in page.elements if tag in {"h1", "h2"}] == ["h1", *["h2"] * len(SECTIONS)]


def test_text_is_escaped_in_the_report(tmp_path: Path) -> None:
    markup = '<script>alert("x")</script>&'
    data = full_report_data()
    markup_data = ReportData(
        **{
            **vars(data), "recipe": markup, "command": markup, "about": markup,
            "recipe_text": markup, "manifest": {markup: markup}, "first_path": markup,
            "sections": [
                *class_sections(np.array([[20, 0], [1, 19]]), (markup, "dog")),
                mistakes_section(np.zeros((1, 1, 6, 6), dtype=np.float32), markup, "</svg>"),
            ],
            "layers": [{"epoch": 1, "path": f"{markup}.weight", "grad_norm": 1.0, "update_ratio": 1.0}],
        }
    )  # fmt: skip
    text, page = write_and_parse(tmp_path, markup_data)
    assert "<script>alert" not in text
    assert "script" not in {tag for tag, _ in page.elements}
    assert markup in page.text


@pytest.mark.slow
def test_figures_are_saved_in_the_run_folder(tmp_path: Path) -> None:
    write_report(tmp_path, full_report_data())
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{name}.png" for name in ("loss", "accuracy", "confusion", "mistakes", "first_weights",
                                                "learning_rate", "gradients", "updates")}  # fmt: skip
    for name in names:
        with Image.open(tmp_path / "figures" / name) as image:
            low, high = image.convert("L").getextrema()
            assert low < 200 < high
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_a_run_without_results_has_no_empty_sections(tmp_path: Path) -> None:
    _, page = write_and_parse(tmp_path, ReportData(recipe="bare", command="pellucid train bare"))
    assert tuple(page.sections) == ("reproduce",)
    assert "svg" not in {tag for tag, _ in page.elements}
    assert "No final results were recorded" in page.text


def test_the_report_of_a_run_that_ended_in_nan_shows_not_finite(tmp_path: Path) -> None:
    data = full_report_data()
    history = [{**HISTORY[0]}, {**HISTORY[1], "train_loss": None, "val_loss": math.nan, "lr": None}]
    nan_data = ReportData(
        **{
            **vars(data), "history": history, "metrics": {"accuracy": 0.1, "loss": math.nan},
            "first_weights": np.full((5, 1, 6, 6), np.nan, dtype=np.float32),
            "layers": [{"epoch": 1, "path": "hidden.weight", "grad_norm": None, "update_ratio": math.nan}],
        }
    )  # fmt: skip
    _, page = write_and_parse(tmp_path, nan_data)
    assert "test loss not finite" in page.text
    assert "svg" in page.sections["curves"]
    assert page.sections["details"].count("svg") == 1  # the learning rate alone
    assert "The training loss was not finite in epoch 2: run `pellucid doctor`" in page.text


@pytest.mark.slow
def test_all_metrics_are_reported(tmp_path: Path) -> None:
    result = {"loss": 0.5, "macro_f1": 0.25, "mae": 2.0, "confusion": [[1, 0], [0, 1]], "n": 4}
    _, page = write_and_parse(tmp_path, ReportData(**{**vars(full_report_data()), "metrics": result}))
    assert "test macro f1 0.25" in page.text
    assert "test mae 2" in page.text


def test_the_slowest_process_of_each_epoch_is_shown(tmp_path: Path) -> None:
    waits = [(0, 0.0), (3, 1.25), (1, 0.5)]
    history = [
        {**row, "slowest_process": rank, "wait_seconds": wait} for row, (rank, wait) in zip(HISTORY, waits, strict=True)
    ]
    _, page = write_and_parse(tmp_path, ReportData(**{**vars(full_report_data()), "history": history}))
    assert "table" in page.sections["processes"]
    assert "slowest process longest wait for it, s epoch, s 1 0 0.00 2.00 2 3 1.25 2.00 3 1 0.50 2.00" in page.text


def test_an_unwritable_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(PellucidError, match="figures cannot be created"):
        write_report(tmp_path, full_report_data())


def test_class_scores_equal_counts_by_hand() -> None:
    # Of 5 predicted as a, 4 are a (80 %); of 6 of class a, 4 are found (66.7 %); F1 = 2 x 0.8 x 0.667 / 1.467 = 72.7 %.
    rows = class_rows(np.array([[4, 2, 0], [1, 3, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert rows[0] == ("a", "80.0 %", "66.7 %", "72.7 %", "6")
    assert rows[1] == ("b", "60.0 %", "75.0 %", "66.7 %", "4")
    assert rows[2] == ("c", "-", "-", "-", "0")
    assert rows[3] == ("mean", "70.0 %", "70.8 %", "69.7 %", "10")
    assert common_confusions(np.array([[4, 2, 0], [1, 3, 0], [0, 0, 0]]), ["a", "b", "c"]) == [
        "a → b (2 times)",
        "b → a (once)",
    ]


def test_a_class_that_was_never_predicted_has_a_recall_but_no_precision() -> None:
    rows = class_rows(np.array([[3, 0], [1, 0]]), ["a", "b"])
    assert rows == [
        ("a", "75.0 %", "100.0 %", "85.7 %", "3"),
        ("b", "-", "0.0 %", "0.0 %", "1"),
        ("mean", "75.0 %", "50.0 %", "42.9 %", "4"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59.94, "59.9 s"), (200, "3 min 20 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations_are_printed_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class BrighterHalfModel:
    """A linear model of 4x4 images that predicts which half is brighter: 0 for the top, 1 for the bottom."""

    net = Sequential(flat=Flatten(), out=Dense(2))
    objective = Supervised(net, SoftmaxCrossEntropy())
    input_shape = nominal_shape = (1, 4, 4)
    output_shape = (2,)
    preprocess: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        top = torch.cat([torch.ones(8), -torch.ones(8)])
        self.params: Params = {"flat": {}, "out": {"weight": torch.stack([top, -top]), "bias": torch.zeros(2)}}

    def predict(self, x: Any) -> Tensor:
        return self.net.forward(self.params, float_images(x), Mode())[0].softmax(1)

    def evaluate(self, x: Any, y: Any = None) -> dict[str, float]:
        right = (self.predict(x).argmax(1) == y).float().mean()
        return {"loss": 0.25, "accuracy": float(right), "n": len(y)}


def halves_dataset() -> Dataset:
    """Return two images with a bright top, of which the second is labelled wrongly, and one with a bright bottom."""
    x = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    x[0, 0, :2] = 255
    x[1, 0, :2] = 128
    x[2, 0, 2:] = 255
    return Dataset.from_arrays(x, torch.tensor([0, 1, 1]), classes=("top", "bottom"))


def write_run_folder(path: Path) -> Path:
    write_csv(path / "metrics.csv", HISTORY)
    write_csv(path / "layers.csv", LAYERS)
    (path / "recipe.toml").write_text('[recipe]\nname = "halves"\nabout = "Which half is brighter"\n')
    (path / "manifest.json").write_text(json.dumps({"seed": 7, "data": {"train": "12ab"}}))
    return path


def test_read_report_data_reads_a_run_folder_and_evaluates_the_model(tmp_path: Path) -> None:
    data = read_report_data(write_run_folder(tmp_path), BrighterHalfModel(), halves_dataset())
    assert (data.recipe, data.about) == ("halves", "Which half is brighter")
    assert data.files == {"confusion.json": {"classes": ["top", "bottom"], "counts": [[1, 0], [1, 1]]}}
    assert data.metrics["accuracy"] == pytest.approx(2 / 3)
    assert read_report_data(tmp_path, BrighterHalfModel(), halves_dataset(), metrics={"accuracy": 0.5}).metrics == {
        "accuracy": 0.5
    }
    assert data.first_path == "out.weight"
    assert data.first_weights is not None
    assert data.first_weights.shape == (2, 1, 4, 4)
    assert data.summary is not None
    assert data.summary.parameters == 34
    assert data.manifest["seed"] == 7
    assert [row["epoch"] for row in data.history] == [1, 2, 3]
    assert data.val_data == "test"  # the recipe has no validation images
    _, page = write_and_parse(tmp_path, data)
    assert "66.67 %" in page.text
    assert "the second curve is for the test images" in page.text
    assert "bottom → top (once)" in page.text
    assert "1 of 1 misclassified test images" in page.text
    assert json.loads((tmp_path / "confusion.json").read_text())["counts"] == [[1, 0], [1, 1]]


def test_the_most_confident_errors_come_first() -> None:
    test = Dataset.from_arrays(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), classes=("a", "b"))
    scores = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    largest_error = select_mistakes(scores, test.y, test, max_count=2)
    assert largest_error is not None
    assert list(largest_error.probability) == pytest.approx([0.9, 0.7])
    assert (list(largest_error.true), list(largest_error.predicted), largest_error.total) == (["a", "b"], ["b", "a"], 3)
    np.testing.assert_array_equal(largest_error.images, test.x[[1, 3]].numpy())
    rows = Dataset.from_arrays(torch.rand(4, 5), torch.tensor([0, 0, 1, 1]))
    assert select_mistakes(scores, rows.y, rows) is None


def test_one_output_gives_the_probabilities_of_two_classes() -> None:
    class_probabilities = class_scores(torch.tensor([[0.25], [0.75]]))
    torch.testing.assert_close(class_probabilities, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    three_scores = torch.rand(4, 3)
    assert torch.equal(class_scores(three_scores), three_scores)


def test_first_weights_returns_weights_with_the_axes_of_images() -> None:
    rng = torch.Generator().manual_seed(0)
    conv = Sequential(conv=Conv2d(3, 5), flat=Flatten(), out=Dense(2))
    params, _ = conv.init((1, 8, 8), rng)
    path, weights = first_weights(conv, params, (1, 8, 8))
    assert path == "conv.weight"
    assert weights is not None
    torch.testing.assert_close(weights, params["conv"]["weight"])
    dense = Dense(3)
    params, _ = dense.init((12,), rng)
    path, weights = first_weights(dense, params, (3, 2, 2))
    assert path == "weight"
    assert weights is not None
    assert weights.shape == (3, 3, 2, 2)
    assert first_weights(dense, params, (1, 2, 2)) == ("", None)


def test_a_folder_that_is_not_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"recipe\.toml cannot be read"):
        read_report_data(tmp_path, BrighterHalfModel(), halves_dataset())
