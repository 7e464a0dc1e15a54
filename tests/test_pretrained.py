"""The shipped models are small and complete, and have the metrics stated on their cards."""

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import pellucid
from benchmarks import unfamiliar
from benchmarks.int8 import CALIBRATION_DRAWS, CALIBRATION_IMAGES, accuracy_section, has_int8, write_accuracy
from benchmarks.pretrained import counted_boxes, measure_again
from pellucid import Dense, Flatten, Sequential, Sigmoid, shipped_files
from pellucid.base.errors import PellucidError
from pellucid.data import data_root
from pellucid.explain import ledger
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.recipe.material import load_splits
from pellucid.recipe.model_data import table_for
from pellucid.recipe.recipe import read_recipe
from pellucid.tasks.classify.predictor import evaluate
from pellucid.tasks.colorize.measure import evaluate as evaluate_colours
from pellucid.tasks.detect.measure import evaluate as evaluate_objects
from pellucid.tasks.keypoints.measure import evaluate as evaluate_keypoints
from pellucid.tasks.segment.segmenter import evaluate as evaluate_masks

NAMES = shipped_files.pretrained_names()
BACKBONE = "backbone"  # features without a head, for the setting start.weights
DATA_FILES = {
    "mnist": "mnist/t10k-images-idx3-ubyte.gz",
    "cifar10": "cifar10/cifar10.zip",
    "signs": "signs/val",
    "camvid": "camvid/val",
    "faces": "faces/val",
    "bccd": "bccd/Annotations",
    "pennfudan": "pennfudan/val",
}
DETECTORS = [name for name in NAMES if name in ("bccd", "pennfudan")]
COLORIZERS = [name for name in NAMES if name == "colorize"]
NETWORKS = [name for name in NAMES if name not in (*DETECTORS, *COLORIZERS, BACKBONE)]
CLASSIFIERS = [name for name in NETWORKS if name not in ("camvid", "faces")]
RECIPE_OF_MODEL = {  # for models whose name differs from that of the recipe
    "signs": "signs-best",
    "vit-tiny": "cifar-vit",
    "camvid": "camvid-fcn8",
    "faces": "faces-heatmap",
    "bccd": "bccd-single",
    "pennfudan": "pennfudan-mask",
    "colorize": "cifar-colorize",
}


def card_text(name: str) -> str:
    return shipped_files.pretrained_file(name).with_suffix(".md").read_text(encoding="utf-8")


def with_marks(names: Sequence[str]) -> list[Any]:
    """Return the names as parameters, of which those whose evaluation takes a minute are marked as long."""
    return [pytest.param(name, marks=pytest.mark.long) if name in ("cifar", "vit-tiny") else name for name in names]


def test_the_shipped_models_are_those_listed() -> None:
    assert NAMES == (
        "backbone", "bccd", "camvid", "cifar", "colorize", "faces", "mnist-conv", "mnist-lenet", "mnist-mlp-100",
        "pennfudan", "signs", "vit-tiny",
    )  # fmt: skip


def test_the_files_are_small() -> None:
    sizes = [shipped_files.pretrained_file(name).stat().st_size for name in NAMES]
    assert max(sizes) <= 6_000_000
    assert sum(sizes) <= 50_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_card_of_each_model_has_its_hash(name: str) -> None:
    assert Model.load(shipped_files.pretrained_file(name)).sha256() in card_text(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_features_of_each_network_can_be_frozen(name: str) -> None:
    """Every parameter is in `features` or in `head`, as the README's `model.freeze("features.*")` requires."""
    model = Model.load(shipped_files.pretrained_file(name))
    model.freeze("features.*")
    assert model.frozen
    assert {path.split(".")[0] for path in model.weights} == {"features", "head"}
    assert all(path.startswith("features.") for path in model.frozen)
    model.check_learns()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recipe"), [(name, RECIPE_OF_MODEL.get(name, name)) for name in NAMES if name != BACKBONE]
)
def test_each_model_has_the_network_of_its_recipe(name: str, recipe: str) -> None:
    model, kind = Model.load(shipped_files.pretrained_file(name)), "network" if name in NETWORKS else "objective"
    if name in COLORIZERS:  # the changed recipe is on the card; the discriminator is not shipped
        recipe_text = re.search(r"## Recipe\n\n```toml\n(.*?)\n```", card_text(name), re.DOTALL)
        assert recipe_text is not None
        built = read_recipe(tomllib.loads(recipe_text[1]), name, {}).build(kind)
        assert model.objective.generator == built.generator
    else:
        built = pellucid.load_recipe(recipe).build(kind)
        assert (model.net if name in NETWORKS else model.objective) == built


def test_a_file_of_the_former_layout_can_be_loaded_and_evaluated(tmp_path: Path) -> None:
    """The file contains its network: mnist-mlp-100 was a sequence of flatten, dense1, sigmoid1 and dense2."""
    shipped = Model.load(shipped_files.pretrained_file("mnist-mlp-100"))
    layers = {"flatten": Flatten(), "dense1": Dense(100), "sigmoid1": Sigmoid(), "dense2": Dense(10)}
    old_model = Model(Sequential(**layers), shipped.loss, input_shape=(1, 28, 28), preprocess={"data": "mnist"})
    for path, leaf in shipped.weights.items():
        old_model.weights[path.replace("features.", "").replace("head.scores", "dense2")].copy_(leaf)
    old_model.save(tmp_path / "former.safetensors")
    loaded = Model.load(tmp_path / "former.safetensors")
    x, y = torch.rand((30, 1, 28, 28), generator=torch.Generator().manual_seed(0)), torch.arange(30) % 10
    assert torch.equal(loaded.predict(x), shipped.predict(x))
    assert loaded.evaluate(x, y) == shipped.evaluate(x, y)
    assert loaded.familiarity is None


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_noise_is_out_of_distribution_for_each_classifier(name: str) -> None:
    model = Model.load(shipped_files.pretrained_file(name))
    noise = torch.rand((20, *model.input_shape), generator=torch.Generator().manual_seed(0))
    distances = model.distance(noise)
    assert distances is not None
    assert model.familiarity is not None
    assert bool((distances > model.familiarity.threshold).all())


@pytest.mark.parametrize("composite", ["cp_lrp", "attn_lrp"])
def test_the_relevance_of_the_vision_transformer_adds_up(composite: str) -> None:
    """In float64, the relevance of the pixels and that absorbed by the layers sum to the score."""
    model = Model.load(shipped_files.pretrained_file("vit-tiny"))
    x = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    balance = ledger(model.net, map_tree(torch.Tensor.double, model.params), x, 3, composite=composite)
    assert abs(balance.gap) <= 1e-10 * abs(balance.score)


@pytest.mark.parametrize("method", ["gradcam", "rollout"])
def test_tokens_of_the_vision_transformer_are_maps_of_its_image(method: str) -> None:
    model = Model.load(shipped_files.pretrained_file("vit-tiny"))
    x = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    maps = model.explain(x, method, upsample=False)
    assert maps.shape == (2, 1, 8, 8)
    assert maps.isfinite().all()


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(("name", "max_alarms"), [("mnist-lenet", 0), ("mnist-mlp-100", 0), ("mnist-conv", 4)])
def test_pictures_laid_out_as_digits_are_distinguished_from_digits(name: str, max_alarms: int) -> None:
    """After preprocessing, noise and scattered ink resemble digits. Digits are of 8x8 pixels, enlarged."""
    model, rng = Model.load(shipped_files.pretrained_file(name)), torch.Generator().manual_seed(0)
    digits = torch.tensor(load_digits().images[:40, None] / 16).float()
    assert unfamiliar.count_unfamiliar(model, torch.rand((40, 1, 28, 28), generator=rng)) == 40
    assert unfamiliar.count_unfamiliar(model, unfamiliar.shuffled(digits, rng)) == 40
    for size, margin in ((3, 8), (10, 20), (20, 90)):
        enlarged = F.pad(F.interpolate(digits, scale_factor=size, mode="bicubic").clamp(0, 1), (margin,) * 4)
        paper = 0.8 - 0.6 * enlarged + 0.01 * torch.randn(enlarged.shape, generator=rng)
        for pictures in (enlarged, 1 - enlarged, paper):
            assert unfamiliar.count_unfamiliar(model, pictures) <= max_alarms


@pytest.mark.heavy
@pytest.mark.real
def test_predict_warns_of_photographs_and_not_of_digits() -> None:
    skip_without_data("mnist")
    skip_without_data("cifar10")
    model, rng = Model.load(shipped_files.pretrained_file("mnist-lenet")), torch.Generator().manual_seed(0)
    photos = unfamiliar.photographs(40)
    own_images = unfamiliar.evenly_spaced(unfamiliar.own_images(model), 40)
    counts = {
        kind: unfamiliar.count_unfamiliar(model, make(own_images, photos, rng))
        for kind, make in unfamiliar.PICTURE_KINDS.items()
    }
    assert counts["CIFAR-10"] >= 30
    assert all(counts[kind] >= 38 for kind in ("uniform noise", "shuffled pixels", "shuffled patches"))
    assert all(not counts[kind] for kind in counts if kind.startswith("MNIST"))


@pytest.mark.heavy
@pytest.mark.real
@pytest.mark.parametrize("name", [pytest.param("mnist-lenet", marks=pytest.mark.long), "signs"])
def test_other_pictures_and_noise_are_distinguished(name: str) -> None:
    """The AUROC against CIFAR-10, noise and, for digits, shuffled pixels is at least 0.95, by scikit-learn."""
    model = Model.load(shipped_files.pretrained_file(name))
    skip_without_data(str(model.preprocess["data"]))
    skip_without_data("cifar10")
    images = unfamiliar.own_images(model)
    own_distances, rng = (
        unfamiliar.distances(model, unfamiliar.evenly_spaced(images, 150)),
        torch.Generator().manual_seed(1),
    )
    kinds = ["CIFAR-10", "uniform noise", "normal noise", "shuffled pixels", "shuffled patches"]
    for kind in kinds:
        other_images = unfamiliar.KINDS[kind](model, images, rng)[:60]
        assert unfamiliar.auroc(own_distances, unfamiliar.distances(model, other_images)) >= 0.95, kind


@pytest.mark.heavy
@pytest.mark.real
@pytest.mark.parametrize("name", with_marks(CLASSIFIERS))
def test_the_accuracy_of_each_classifier_is_that_of_its_card(name: str) -> None:
    model = Model.load(shipped_files.pretrained_file(name))
    skip_without_data(str(model.preprocess["data"]))
    match = re.search(r"test accuracy \| ([\d.]+)% on ([\d,]+) images", card_text(name))
    assert match is not None
    n = int(match[2].replace(",", ""))
    measured = evaluate(model)
    assert measured["n"] == n
    # Rounding on other processors may change the class of one or two images.
    assert measured["accuracy"] == pytest.approx(float(match[1]) / 100, abs=max(3e-4, 1.5 / n))


@pytest.mark.heavy
@pytest.mark.real
@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no VNNI instructions")
@pytest.mark.parametrize("name", with_marks(["mnist-lenet", "mnist-conv", "cifar", "signs", "vit-tiny"]))
def test_the_accuracy_of_each_classifier_in_int8_is_that_of_its_card(name: str) -> None:
    model = Model.load(shipped_files.pretrained_file(name))
    skip_without_data(str(model.preprocess["data"]))
    line = r"test accuracy in int8 \| ([\d.]+)% to ([\d.]+)% \([+-][\d.]+ to [+-][\d.]+ points\) on ([\d,]+) images"
    match = re.search(line, card_text(name))
    assert match is not None
    least, most = float(match[1]) / 100, float(match[2]) / 100
    splits = load_splits(table_for(model.nominal_shape, str(model.preprocess["data"])))
    images, labels = splits.test.x, splits.test.y
    assert len(images) == int(match[3].replace(",", ""))
    step = len(splits.train) // 128
    predict = model.predictor(precision="int8", calibration=splits.train.x[::step])
    labels_in_int8 = torch.cat([predict(batch).argmax(1) for batch in images.split(256)])
    accuracy = float((labels_in_int8 == labels).double().mean())
    assert least - 1e-3 <= accuracy <= most + 1e-3  # the ranges are those of other images


@pytest.mark.parametrize("write", [write_accuracy, measure_again])
def test_cards_are_not_rewritten_on_machines_that_cannot_compute_in_int8(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = card_text("mnist-lenet")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(PellucidError, match="this processor has no AVX-512 VNNI instructions"):
        write("mnist-lenet")
    assert card_text("mnist-lenet") == before


@pytest.mark.long
@pytest.mark.real
def test_the_metrics_of_camvid_are_those_of_its_card() -> None:
    skip_without_data("camvid")
    match = re.search(r"mean IoU \| ([\d.]+)% on ([\d,]+) images", card_text("camvid"))
    assert match is not None
    measured = evaluate_masks(Model.load(shipped_files.pretrained_file("camvid")))
    assert measured["n"] == int(match[2]) == 101
    assert measured["miou"] == pytest.approx(float(match[1]) / 100, abs=1e-3)


@pytest.mark.real
def test_the_metrics_of_faces_are_those_of_its_card() -> None:
    skip_without_data("faces")
    match = re.search(r"normalised mean error \| ([\d.]+)% .* on ([\d,]+) images", card_text("faces"))
    assert match is not None
    measured = evaluate_keypoints(Model.load(shipped_files.pretrained_file("faces")))
    assert measured["n"] == int(match[2]) == 300
    assert measured["nme"] == pytest.approx(float(match[1]) / 100, abs=2e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_card_of_a_detector_names_the_score_from_which_boxes_count(name: str) -> None:
    model: Any = Model.load(shipped_files.pretrained_file(name))
    rows = [row for row in card_text(name).splitlines() if re.match(r"\| (box |mask )?AP50 / AP \|", row)]
    assert rows
    for row in rows:
        assert f"of boxes from a score of {model.objective.score_threshold:g} " in row
        assert counted_boxes(model) in row


@pytest.mark.parametrize("name", NAMES)
def test_an_accuracy_in_int8_is_stated_with_its_range_over_draws_of_calibration_images(name: str) -> None:
    lines = [line for line in card_text(name).splitlines() if " in int8 | " in line]
    rows = dict(row.split(" | ", 1) for row in accuracy_section().splitlines() if row.startswith("| `"))
    assert bool(lines) == (name != BACKBONE and has_int8(Model.load(name)))
    assert (f"| `{name}`" in rows) == bool(lines)
    for line in lines:
        match = re.match(r"\| (.*) in int8 \| ([\d.]+)% to ([\d.]+)% \(.* (\d+) draws of (\d+) training images", line)
        assert match is not None
        assert float(match[2]) <= float(match[3])
        assert (int(match[4]), int(match[5])) == (CALIBRATION_DRAWS, CALIBRATION_IMAGES)  # as on the page
        assert f"{match[2]}% to {match[3]}%" in rows[f"| `{name}`"]
    assert accuracy_section() in (Path(shipped_files.__file__).parents[1] / "docs" / "int8.md").read_text("utf-8")


@pytest.mark.long
@pytest.mark.real
@pytest.mark.parametrize("name", DETECTORS)
def test_the_metrics_of_detectors_are_those_of_their_cards(name: str) -> None:
    skip_without_data(name)
    match = re.search(r"AP50 / AP \| ([\d.]+)% / ([\d.]+)% .* on ([\d,]+) images", card_text(name))
    assert match is not None
    measured = evaluate_objects(Model.load(shipped_files.pretrained_file(name))).results
    assert measured.n == int(match[3])
    assert measured.figures["ap50"] == pytest.approx(float(match[1]) / 100, abs=3e-3)
    assert measured.figures["ap"] == pytest.approx(float(match[2]) / 100, abs=3e-3)


@pytest.mark.long
@pytest.mark.real
@pytest.mark.parametrize("name", COLORIZERS)
def test_the_metrics_of_colorizers_are_those_of_their_cards(name: str) -> None:
    model = Model.load(shipped_files.pretrained_file(name))
    skip_without_data(str(model.preprocess["data"]))
    match = re.search(r"PSNR in dB, from the pooled error \| ([\d.]+); grey: ([\d.]+)", card_text(name))
    n = re.search(r"measured on \| ([\d,]+) images", card_text(name))
    assert match is not None
    assert n is not None
    measured = evaluate_colours(model)
    assert measured["n"] == int(n[1].replace(",", ""))
    assert measured["psnr"] == pytest.approx(float(match[1]), abs=0.02)
    assert measured["psnr_grey"] == pytest.approx(float(match[2]), abs=0.02)
    assert measured["psnr"] > measured["psnr_grey"]


@pytest.mark.heavy
@pytest.mark.real
def test_one_epoch_of_mnist_mlp_learns_most_digits(tmp_path: Path) -> None:
    skip_without_data("mnist")
    run = pellucid.train("mnist-mlp", out=tmp_path, progress=False, **{"train.epochs": 1})
    assert run.metrics["n"] == 10_000
    assert run.metrics["accuracy"] > 0.9  # Nielsen 2015, chapter 1, reports 9,129 of 10,000 after the first epoch


def skip_without_data(data: str) -> None:
    """Skip the test if a data set is not available."""
    if not (data_root() / DATA_FILES[data]).exists():
        pytest.skip(f"{data_root() / DATA_FILES[data]} is absent; `pellucid data get {data}` fetches or explains it")
