"""The comparison of training variants from end to end, with tiny pictures, a tiny network and two recipes."""

import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as oracle

from pellucid.base.errors import PellucidError
from pellucid.data import load_splits
from pellucid.model import Model
from pellucid.models import airbench
from pellucid.recipe.checked.collection import class_weights
from pellucid.recipe.checked.reading import read_collection
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.comparison import Comparison
from pellucid.tasks.gestures.backbone import MIN_STEPS
from pellucid.tasks.gestures.compare import _resolve_data, compare
from pellucid.tasks.gestures.comparison import VARIANTS, TrainingVariant
from pellucid.tasks.pictures import held_out
from tests.data.quality.photos import file_of, photo
from tests.pages import without_script

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
CLASSES = ("fist", "palm", "thumb")
RECIPE = """
[recipe]
seed = 4
[data]
size = 16
[network]
model = "airbench"
width = 2
[optimizer]
name = "adam"
lr = 0.003
[train]
epochs = 2
batch_size = 16
"""


@dataclass(frozen=True)
class Bench:
    """A folder of pictures, a backbone, and two recipes."""

    data: Path
    backbone: Path
    variants: tuple[TrainingVariant, ...]

    def compare(self, out: Path, **options: Any) -> Comparison:
        arguments = {"backbone": str(self.backbone), "data": self.data, "progress": False, "repeats": 1, **options}
        arguments["overrides"] = {"train.epochs": 2, **arguments.get("overrides", {})}  # by default many
        return compare(self.variants, out=out, **arguments)


def draw(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Draw noisy pictures with a bright square at the position of the class, or of another class in one of six."""
    for k, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            position = (k + (number % 6 == 5)) % 3
            picture[4 * position : 4 * position + 8, 4 * position : 4 * position + 8] += 130
            Image.fromarray(picture).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder, rng = tmp_path_factory.mktemp("bench"), np.random.default_rng(0)
    draw(folder / "hands" / "train", 12, rng)
    draw(folder / "hands" / "val", 6, rng)
    backbone = folder / "backbone.safetensors"
    Model(airbench(7, width=2), input_shape=(3, 16, 16), seed=9).save(backbone)
    variants = []
    for name, extra_toml, transfers in (
        ("scratch", "", False),
        ("frozen", 'frozen = ["features.*"]\n', True),
    ):
        (folder / f"{name}.toml").write_text(RECIPE + extra_toml)
        variants.append(TrainingVariant(str(folder / f"{name}.toml"), name.title(), f"What {name} does.", transfers))
    return Bench(folder / "hands", backbone, tuple(variants))


@pytest.fixture(scope="module")
def two_seeds(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """Return the folder of a comparison with two seeds, and the comparison."""
    out = tmp_path_factory.mktemp("compared") / "out"
    return out, bench.compare(out, seeds=2, command="pellucid gestures compare --seeds 2")


@pytest.fixture
def no_page(no_report: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the reports and the page of comparisons."""
    monkeypatch.setattr(Comparison, "write", lambda self, folder, command: [])


def read_json(out: Path) -> dict[str, Any]:
    return json.loads((out / "comparison.json").read_text(), parse_constant=pytest.fail)


def test_metrics_of_the_saved_weights_equal_scikit_learns(bench: Bench, two_seeds: tuple[Path, Comparison]) -> None:
    images = load_splits(bench.data, size=(16, 16)).test
    values = read_json(two_seeds[0])
    assert (values["n_train"], values["n_test"], values["classes"]) == (36, 18, list(CLASSES))
    assert [variant["variant"] for variant in values["variants"]] == ["scratch", "frozen"]
    for variant in values["variants"]:
        assert [trial["seed"] for trial in variant["trials"]] == [4, 5]
        for trial in variant["trials"]:
            predicted = Model.load(Path(trial["run"]) / "weights" / "best.safetensors").predict(images).argmax(1)
            report = oracle.classification_report(
                images.y, predicted, target_names=CLASSES, output_dict=True, zero_division=0.0
            )
            assert trial["accuracy"] == pytest.approx(report["accuracy"])
            assert trial["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
            assert trial["confusion"] == oracle.confusion_matrix(images.y, predicted).tolist()
            for row in trial["classes"]:
                assert (row["precision"] or 0.0) == pytest.approx(report[row["class"]]["precision"])
                assert row["recall"] == pytest.approx(report[row["class"]]["recall"])
                assert row["n"] == report[row["class"]]["support"]
        for key in ("accuracy", "macro_f1", "ece", "seconds"):
            values_of_trials = [trial[key] for trial in variant["trials"]]
            assert variant[key] == pytest.approx(np.mean(values_of_trials))
            assert variant["range"][key] == [min(values_of_trials), max(values_of_trials)]
    assert (
        values["best"]
        == max(values["variants"], key=lambda variant_values: (variant_values["accuracy"], variant_values["macro_f1"]))[
            "variant"
        ]
    )
    assert values["complete"] is True


def test_variants_differ_in_initial_weights_and_trained_parameters(
    bench: Bench, two_seeds: tuple[Path, Comparison]
) -> None:
    backbone_features = {
        path: tensor for path, tensor in Model.load(bench.backbone).weights.items() if path.startswith("features.")
    }
    scratch, frozen = two_seeds[1].rows
    head = 3 * (8 + 1)  # width 2: eight features, a bias, three classes
    assert frozen.values["learned"] == head
    assert scratch.values["learned"] == scratch.values["parameters"] == frozen.values["parameters"] > head
    for row, unchanged in ((scratch, False), (frozen, True)):
        weights = Model.load(Path(row.run) / "weights" / "best.safetensors").weights
        assert all(torch.equal(weights[path], tensor) for path, tensor in backbone_features.items()) is unchanged


class ParsedPage(HTMLParser):
    """Parse a page: collect its elements and words, and check that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def test_page_shows_all_variants_and_loads_no_external_files(two_seeds: tuple[Path, Comparison]) -> None:
    text = (two_seeds[0] / "comparison.html").read_text(encoding="utf-8")
    page = ParsedPage(without_script(text))
    sections = [values["id"] for tag, values in page.elements if tag == "section"]
    assert sections == [
        "result", "candidates", "calibration", "results", "recipes", "curves", "classes", "manifests", "confusion",
        "again",
    ]  # fmt: skip
    for row in two_seeds[1].rows:
        assert f"{100 * row.values['trials'][0]['ece']:.1f} per cent" in text
    assert any(words.startswith("What frozen does. Run: ") for words in page.words)
    assert "train.frozen" in page.words, "the only difference of the recipes"
    assert "pellucid gestures compare --seeds 2" in page.words
    pictures = [values for tag, values in page.elements if tag == "svg"]
    assert len(pictures) == len(list((two_seeds[0] / "figures").iterdir())) >= 5 + 2 * 2
    assert all(values["role"] == "img" and values["aria-label"] for values in pictures)
    assert all(values.get("scope") for tag, values in page.elements if tag == "th")
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    for tag, values in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name in ("src", "href", "data"):
            assert re.match(r"#|data:image/png;base64,", values.get(name) or "#")
    assert "://" not in text
    assert "@import" not in text


def test_markdown_has_the_table_and_the_runs(two_seeds: tuple[Path, Comparison]) -> None:
    text = (two_seeds[0] / "comparison.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[0][0] == "| variant"
    assert [row[0] for row in rows[2:4]] == ["| Scratch", "| Frozen"]
    run_paths = re.findall(r"Run: `([^`]+)`", text)
    assert run_paths == [row.run for row in two_seeds[1].rows]
    assert all((Path(path) / "recipe.toml").is_file() for path in run_paths)


@pytest.mark.usefixtures("no_page")
def test_finished_runs_are_not_trained_again(bench: Bench, two_seeds: tuple[Path, Comparison]) -> None:
    out, first = two_seeds
    runs = [path for path in out.iterdir() if (path / "recipe.toml").is_file()]
    stamps = {path: os.stat(path / "weights" / "best.safetensors").st_mtime_ns for path in runs}
    assert len(runs) == 4
    repeated = bench.compare(out, seeds=2)
    assert [row.run for row in repeated.rows] == [row.run for row in first.rows]
    assert {path: os.stat(path / "weights" / "best.safetensors").st_mtime_ns for path in runs} == stamps
    accuracies = [[row.values["accuracy"] for row in comparison.rows] for comparison in (repeated, first)]
    assert accuracies[0] == accuracies[1]
    assert len([path for path in out.iterdir() if (path / "recipe.toml").is_file()]) == 4


@pytest.mark.usefixtures("no_page")
def test_interrupted_run_is_resumed_unless_its_data_have_changed(bench: Bench, tmp_path: Path) -> None:
    data = tmp_path / "hands"
    shutil.copytree(bench.data, data)
    single = Bench(data, bench.backbone, bench.variants[:1])
    first = single.compare(tmp_path / "out").rows[0]
    (Path(first.run) / "results.json").write_text('{"seconds": 1')
    resumed = single.compare(tmp_path / "out").rows[0]
    assert (resumed.run, resumed.values["accuracy"]) == (first.run, first.values["accuracy"])
    assert json.loads((Path(first.run) / "results.json").read_text())["epochs"] == 2
    (data / "train" / "fist" / "0.png").unlink()
    changed_comparison = single.compare(tmp_path / "out")
    assert changed_comparison.facts["n_train"] == 35
    assert changed_comparison.rows[0].run != first.run


@pytest.mark.usefixtures("no_page")
def test_small_data_sets_get_more_epochs(bench: Bench, tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", "progress": False, "repeats": 1}
    comparison = compare(bench.variants[1:], backbone=str(bench.backbone), data=bench.data, **options)
    steps_per_epoch = math.ceil(36 / 16)
    assert comparison.rows[0].values["trials"][0]["epochs"] == MIN_STEPS / steps_per_epoch


@pytest.mark.usefixtures("no_report")
def test_ctrl_c_keeps_finished_runs_and_the_same_command_resumes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pellucid.recipe.resume as module

    started_recipes: list[str] = []
    begin_run = module.begin_run

    def begin_run_until_the_second(recipe: Any, *arguments: Any) -> Path:
        started_recipes.append(recipe.name)
        if recipe.name == "frozen":
            raise KeyboardInterrupt
        return begin_run(recipe, *arguments)

    monkeypatch.setattr(module, "begin_run", begin_run_until_the_second)
    with pytest.raises(KeyboardInterrupt, match=r"1 of 2 trainings finished; they are kept in .*; run the same"):
        bench.compare(tmp_path)
    assert started_recipes == ["scratch", "frozen"]
    values = read_json(tmp_path)
    assert (values["complete"], [variant["variant"] for variant in values["variants"]]) == (False, ["scratch"])
    assert "1 of 2 variants are not trained yet" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    monkeypatch.setattr(module, "begin_run", begin_run)
    lines: list[str] = []
    bench.compare(tmp_path, report_line=lines.append)
    assert [line.split(":")[0] for line in lines[-2:]] == ["1/2 Scratch", "2/2 Frozen"]
    assert read_json(tmp_path)["complete"] is True
    assert len(list(tmp_path.glob("scratch-*"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"data": "nowhere"}, "no data set or folder 'nowhere'"),
        ({"backbone": "nowhere"}, "no model 'nowhere'"),
        ({"overrides": {"train.epoch": 3}}, "unknown key 'epoch'; did you mean 'epochs'|train.epoch"),
    ],
)
def test_invalid_arguments_are_refused_before_any_training(
    bench: Bench, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PellucidError, match=message):
        bench.compare(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_five_variants_have_different_names() -> None:
    assert [variant.recipe for variant in VARIANTS] == [
        "signs-scratch", "signs-frozen", "signs-frozen-augmented", "signs-finetune", "signs-best",
    ]  # fmt: skip
    assert [variant.transfers for variant in VARIANTS] == [False, True, True, True, True]
    assert len({variant.title for variant in VARIANTS}) == len({variant.about for variant in VARIANTS}) == 5


@pytest.fixture(scope="module")
def unsplit(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Comparison]:
    """Return class folders (uneven, with copies of one photo and a damaged file), the output folder, the comparison."""
    root = tmp_path_factory.mktemp("plain") / "hands"
    for c, (name, count) in enumerate((("fist", 30), ("palm", 8))):
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k:02}.png").write_bytes(file_of(photo(100 * c + k)))
    for k in range(10):
        (root / "fist" / f"{3 * k:02}-again.jpg").write_bytes(file_of(photo(3), "JPEG", quality=95 - k))
    (root / "palm" / "bad.png").write_bytes(b"no picture")
    lines: list[str] = []
    messages: list[str] = []
    comparison = Bench(root, bench.backbone, bench.variants[:1]).compare(
        root.parent / "out", report_line=lines.append, reading_progress=lambda stage, *_: messages.append(stage)
    )
    assert "reading" in messages
    (root.parent / "lines").write_text("\n".join(lines))
    return root, root.parent / "out", comparison


def test_near_duplicates_are_not_split_between_training_and_test(unsplit: tuple[Path, Path, Comparison]) -> None:
    root, _, result = unsplit
    collection = read_collection(root, 16)
    assert result.facts["n_train"] == len(collection.train.files)
    assert result.facts["n_test"] == len(collection.test.files)
    assert result.facts["collection"]["leaked"] == 0
    assert result.facts["collection"]["held_out_files"] == list(collection.test.files)
    has_copies = [{"again" in name for name in part.files} for part in collection.parts().values()]
    assert {True} <= has_copies[0] ^ has_copies[1], "the eleven pictures of one photo are on one side"


def test_damaged_files_of_a_folder_are_listed(unsplit: tuple[Path, Path, Comparison]) -> None:
    root, out, _ = unsplit
    lines = (root.parent / "lines").read_text().splitlines()
    assert "1 file cannot be read and is left out:" in lines
    assert any(line.startswith("  palm/bad.png is not") for line in lines)
    assert lines[-1].startswith("1/1 Scratch: accuracy ")
    assert [file["file"] for file in read_json(out)["collection"]["corrupt_files"]] == ["palm/bad.png"]
    assert "1 file cannot be read and is left out." in (out / "comparison.html").read_text(encoding="utf-8")


def test_uneven_classes_of_a_folder_are_weighted(unsplit: tuple[Path, Path, Comparison]) -> None:
    counts = read_collection(unsplit[0], 16).train.counts()
    assert counts[0] > 3 * counts[1]
    recipe = load_recipe(unsplit[2].rows[0].run)
    assert recipe.loss.arguments["class_weights"] == pytest.approx(class_weights(counts), abs=1e-6)


def test_a_run_on_a_folder_is_evaluated_on_its_held_out_images(unsplit: tuple[Path, Path, Comparison]) -> None:
    model = Model.load(Path(unsplit[2].rows[0].run) / "weights" / "best.safetensors")
    assert held_out(model, str(unsplit[0])).checksum == read_collection(unsplit[0], 16).test.checksum


def test_a_class_folder_named_like_a_data_set_is_not_a_data_root(tmp_path: Path):
    for folder in ("own/signs", "own/mnist", "sets/signs/train"):
        (tmp_path / folder).mkdir(parents=True)
    assert _resolve_data(tmp_path / "sets") == (str(tmp_path / "sets"), {})
    root, settings = _resolve_data(tmp_path / "own")
    assert root is None
    assert settings["data.name"] == str(tmp_path / "own")
