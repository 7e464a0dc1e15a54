"""Segmentation of synthetic pictures: training, prediction on pictures of any size, evaluation, commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.data import Augment, load_masks
from pellucid.data.folder import MaskDataset
from pellucid.layers import Conv2d, Mode
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.metrics import MeanIoU
from pellucid.model import Model
from pellucid.models import fcn8, unet
from pellucid.optim import Adam
from pellucid.recipe.material import load_arrays
from pellucid.recipe.tables import Data
from pellucid.tasks.segment.report import confusion_and_worst_images
from pellucid.tasks.segment.segmenter import Segmenter, evaluate, mask_folder
from tests.references import reference_forward

CLASSES, IGNORED = ("ground", "box", "disc"), 3


def draw(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) of a red box and a green disc on grey, and the class of each pixel, some ignored."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(0, height - 10), rng.integers(0, width - 10)
    mask[top : top + 10, left : left + 10] = 1
    i, j = rng.integers(6, height - 6), rng.integers(6, width - 6)
    mask[(rows - i) ** 2 + (columns - j) ** 2 <= 36] = 2
    colours = np.array([[110, 110, 110], [220, 60, 60], [60, 210, 60]])
    picture = (colours[mask] + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)
    mask[rng.random((height, width)) < 0.03] = IGNORED
    return picture, mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    for part, count in (("train", 24), ("val", 5)):
        for number in range(count):
            picture, mask = draw(number + 100 * (part == "val"), 27, 35)
            for name, array in ((part, picture), (f"{part}annot", mask)):
                (root / name).mkdir(exist_ok=True)
                Image.fromarray(array).save(root / name / f"a_{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    data = load_masks(folder, "train", CLASSES, IGNORED)
    model = Model(
        unet(3, 4, norm=True),
        SoftmaxCrossEntropy(ignore=IGNORED),
        Adam(lr=0.01),
        metrics=[MeanIoU(IGNORED)],
        input_shape=(3, 27, 35),
        classes=CLASSES,
        preprocess={"data": str(folder), "mean": [0.5] * 3, "std": [0.25] * 3},
    )
    augment = Augment(flip=True, scale=(0.8, 1.25), crop_size=(27, 35), ignore=IGNORED)
    history = model.fit(
        data, epochs=25, batch_size=4, augment=augment, verbose=False,
        validation=load_masks(folder, "val", CLASSES, IGNORED),
    )  # fmt: skip
    assert history["val_miou"][-1] > 0.75
    return model


def test_masks_are_loaded_with_their_images(folder: Path) -> None:
    data = load_masks(folder, "train", CLASSES, IGNORED)
    assert data.x.shape == (24, 3, 27, 35)
    assert data.y.shape == (24, 27, 35)
    picture, mask = draw(7, 27, 35)
    assert torch.equal(data.x[7], torch.from_numpy(picture).permute(2, 0, 1))
    assert torch.equal(data.y[7], torch.from_numpy(mask))
    counts = [int((data.y == k).sum()) for k in range(3)]
    assert [f"{name} {count:,}".split() for name, count in zip(CLASSES, counts, strict=True)] == [
        line.split() for line in str(data).splitlines()[2:]
    ]
    parts = data.split(0.25, seed=3)
    assert {*parts.train.files} | {*parts.test.files} == {*data.files}
    assert (len(parts.train), len(parts.test)) == (18, 6)
    assert torch.equal(parts.test.y[0], data.y[data.files.index(parts.test.files[0])])


@pytest.mark.slow
def test_metrics_equal_scikit_learn(model: Model, folder: Path) -> None:
    evaluation = evaluate(model)
    true, predicted = [], []
    for number in range(5):
        picture, mask = draw(100 + number, 27, 35)
        x = torch.from_numpy(picture).permute(2, 0, 1)[None]
        prediction = model.predict(x)[0].argmax(0).numpy()
        true += mask[mask != IGNORED].tolist()
        predicted += prediction[mask != IGNORED].tolist()
    assert evaluation["n"] == 5
    assert evaluation["miou"] == pytest.approx(jaccard_score(true, predicted, average="macro"), rel=1e-9)
    assert evaluation["pixel_accuracy"] == pytest.approx(accuracy_score(true, predicted), rel=1e-9)
    by_class = [row["iou"] for row in evaluation["classes"]]
    assert by_class == pytest.approx(jaccard_score(true, predicted, average=None).tolist(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 52), (31, 17), (16, 16)])
def test_pictures_of_any_size_are_segmented(model: Model, size: tuple[int, int]) -> None:
    picture, mask = draw(5, *size)
    segmentation = Segmenter(model)(torch.from_numpy(picture).permute(2, 0, 1))
    assert segmentation.mask.shape == size
    labelled = mask != IGNORED
    assert (segmentation.mask.numpy()[labelled] == mask[labelled]).mean() > 0.85
    torch.testing.assert_close(segmentation.probabilities.sum(0), torch.ones(size), rtol=1e-4, atol=1e-4)
    areas = segmentation.areas()
    assert list(areas) == list(CLASSES)
    assert sum(areas.values()) == pytest.approx(1)
    assert areas["box"] == (segmentation.mask == 1).double().mean().item()


@pytest.mark.slow
def test_command_writes_overlays_masks_and_areas(model: Model, folder: Path, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    Image.fromarray(draw(9, 33, 47)[0]).save(tmp_path / "street.png")
    out = tmp_path / "out"
    arguments = ["segment", str(tmp_path / "m.safetensors"), str(tmp_path / "street.png"), "--out", str(out), "--json"]
    assert main(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)["pictures"]
    segmentation = Segmenter(model)(torch.from_numpy(draw(9, 33, 47)[0]).permute(2, 0, 1))
    with Image.open(row["files"]["mask"]) as mask_file:
        assert mask_file.mode == "P"
        assert np.array_equal(np.array(mask_file), segmentation.mask.numpy())
    with Image.open(row["files"]["overlay"]) as overlay:
        assert overlay.size == (47, 33)
    summary = json.loads(Path(row["files"]["areas"]).read_text())
    assert summary["areas"] == row["areas"] == segmentation.areas()
    assert main(["segment", str(tmp_path / "m.safetensors"), str(folder / "val"), "--out", str(out), "--crf"]) == 0
    assert len(list(out.glob("a_0*-overlay.png"))) == 5
    assert "ground" in capsys.readouterr().out


@pytest.mark.slow
def test_input_pictures_are_not_overwritten(model: Model, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    pictures, other_folder = tmp_path / "pictures", tmp_path / "others"
    for file, seed in ((pictures / "a.png", 1), (pictures / "b.png", 2), (other_folder / "b.png", 3)):
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(draw(seed, 20, 22)[0]).save(file)
    contents = {file: file.read_bytes() for folder in (pictures, other_folder) for file in folder.iterdir()}
    for source, out in (
        (pictures, pictures),
        (pictures / "a.png", pictures),
        (pictures, other_folder),  # has another b.png
    ):
        assert main(["segment", str(tmp_path / "m.safetensors"), str(source), "--out", str(out)]) == 2
        assert "png would be overwritten; give another output folder" in capsys.readouterr().err
        assert {file: file.read_bytes() for folder in (pictures, other_folder) for file in folder.iterdir()} == contents
    for _ in range(2):  # its own outputs are overwritten
        assert main(["segment", str(tmp_path / "m.safetensors"), str(pictures), "--out", str(tmp_path / "out")]) == 0
    (pictures / "b.png").rename(pictures / "a-overlay.png")
    capsys.readouterr()
    assert main(["segment", str(tmp_path / "m.safetensors"), str(pictures), "--out", str(tmp_path / "new")]) == 2
    assert "a-overlay.png; rename one of them" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_grey_networks_segment_and_evaluate_pictures(folder: Path, tmp_path: Path, capsys) -> None:
    model = Model(Sequential(Conv2d(3, 3, padding=1)), SoftmaxCrossEntropy(ignore=IGNORED), input_shape=(1, 27, 35))
    model.save(tmp_path / "m.safetensors")
    picture = Image.fromarray(draw(9, 33, 47)[0])
    picture.save(tmp_path / "street.png")
    picture.save(tmp_path / "street.gif")
    grey = torch.from_numpy(np.array(picture.convert("L")))[None]
    prediction = model.predict(grey[None, :, :27, :35])[0].argmax(0)
    segmentation = Segmenter(model)(grey)
    assert torch.equal(segmentation.mask[:26, :34], prediction[:26, :34])  # away from the cut edges
    for arguments in (
        [str(tmp_path / "street.png")],
        [str(tmp_path / "street.png"), "--crf"],
        [str(tmp_path / "street.gif")],
    ):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert main(["segment", str(tmp_path / "m.safetensors"), *arguments, "--out", str(out)]) == 0
        assert len(list(out.iterdir())) == 3
        if arguments == [str(tmp_path / "street.png")]:
            assert np.array_equal(np.array(Image.open(out / "street.png")), segmentation.mask.numpy())
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 5
    with pytest.raises(PellucidError, match=r"takes uint8 images with 1 channel, not uint8 of shape \(3, 33, 47\)"):
        Segmenter(model)(torch.zeros(3, 33, 47, dtype=torch.uint8))


@pytest.mark.slow
def test_command_continues_after_unreadable_pictures(model: Model, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "few").mkdir()
    for k, name in enumerate(("a", "d")):
        Image.fromarray(draw(k, 33, 47)[0]).save(tmp_path / f"few/{name}.png")
    (tmp_path / "few/b.png").write_bytes(b"")
    Image.fromarray(draw(0, 33, 47)[0][:2, :2]).save(tmp_path / "few/c.png")
    arguments = ["segment", str(tmp_path / "m.safetensors"), str(tmp_path / "few"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert [Path(line.split(": ")[0]).name for line in captured.out.splitlines()] == ["a-overlay.png", "d-overlay.png"]
    assert "b.png is empty" in captured.err
    assert "2x2" in captured.err
    assert main([*arguments, "--json"]) == 2
    output = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in output["pictures"]] == ["a.png", "d.png"]
    assert [row["image"] for row in output["skipped"]] == ["b.png", "c.png"]
    assert output["engine"] == "pellucid"


def test_command_evaluates_any_folder_of_pairs(model: Model, folder: Path, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    for name, source in (("street", "val"), ("streetannot", "valannot")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for file in sorted((folder / source).iterdir())[:2]:
            (tmp_path / "own" / name / file.name).write_bytes(file.read_bytes())
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "own"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["n"] == 2
    assert {"miou", "pixel_accuracy", "n"} <= output.keys()
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(folder)]) == 0
    assert "mean IoU" in capsys.readouterr().out


def test_images_of_a_training_folder_without_parts_are_evaluated_only_if_training_held_them_out(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    for name in ("train", "trainannot"):
        shutil.copytree(folder / name, tmp_path / "own" / name)
    material = load_arrays(Data(str(tmp_path / "own")), seed=3)
    assert isinstance(material.test, MaskDataset)
    assert len(mask_folder(model, str(tmp_path / "own"), IGNORED)) == 24  # a folder that the model does not name
    model.save(tmp_path / "m.safetensors")
    trained = Model.load(tmp_path / "m.safetensors")
    trained.preprocess["data"] = str(tmp_path / "own")
    source = mask_folder(trained, str(tmp_path / "own/../own"), IGNORED)
    assert [Path(name).name for name in source.names] == [Path(name).name for name in material.test.files]
    assert torch.equal(torch.stack([source.example(k)[1] for k in range(len(source))]), material.test.y)


def test_mask_with_only_ignored_pixels_does_not_count(model: Model, folder: Path, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    shutil.copytree(folder, tmp_path / "own")
    Image.fromarray(np.full((27, 35), IGNORED, np.uint8)).save(tmp_path / "own" / "valannot" / "a_00.png")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "own"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    true, predicted = [], []
    for number in range(1, 5):
        picture, mask = draw(100 + number, 27, 35)
        prediction = model.predict(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].argmax(0).numpy()
        true += mask[mask != IGNORED].tolist()
        predicted += prediction[mask != IGNORED].tolist()
    assert output["miou"] == pytest.approx(jaccard_score(true, predicted, average="macro"), rel=1e-9)
    confusion, worst = confusion_and_worst_images(
        model, load_masks(tmp_path / "own", "val", CLASSES, IGNORED), max_images=5
    )
    assert confusion.tolist() == confusion_matrix(true, predicted, labels=range(3)).tolist()
    assert worst.file_names[-1].endswith("a_00.png")
    assert worst.scores[-1] == 1.0


def test_invalid_arguments_are_reported_in_one_line(model: Model, folder: Path, tmp_path: Path, capsys) -> None:
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["segment", str(tmp_path / "m.safetensors"), str(tmp_path / "no.png"), "--out", "o"], "no.png is missing"),
        (["segment", str(tmp_path / "m.safetensors"), str(tmp_path / "empty"), "--out", "o"], "contains no images"),
        (["segment", "mnist-mlp-100", str(folder / "val"), "--out", "o"], "not a class for each pixel"),
        (["evaluate", str(tmp_path / "m.safetensors"), "--data", str(folder / "val")], "has no masks beside images"),
        (["predict", str(tmp_path / "m.safetensors"), "street.png"], "or use `pellucid segment`"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_images_of_several_sizes_are_refused_by_load_masks(folder: Path, tmp_path: Path) -> None:
    for name, (h, w) in (("a", (20, 20)), ("b", (20, 21))):
        for part, array in zip(("train", "trainannot"), draw(1, h, w), strict=True):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / part / f"{name}.png")
    with pytest.raises(PellucidError, match="resize them, or train on a MaskFolder"):
        load_masks(tmp_path, "train", CLASSES, IGNORED)


@pytest.mark.heavy
@pytest.mark.slow
def test_fcn_recipe_trains_on_frozen_features_of_cifar(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """The recipe names a data set of the catalogue, so the entry of CamVid is replaced by the drawn shapes."""
    from dataclasses import replace

    import pellucid
    from pellucid.data import catalogue

    entry = replace(catalogue.CATALOGUE["camvid"], classes=CLASSES, path=str(folder))
    monkeypatch.setitem(catalogue.CATALOGUE, "camvid", entry)
    overrides = {
        "network.backbone": "airbench96", "network.classes": 3, "start.weights": "cifar", "loss.ignore": 3,
        "loss.class_weights": [1.0, 2.0, 2.0], "augment.crop_size": [27, 35], "augment.ignore": 3, "train.epochs": 1,
        "train.frozen": ["features.stem.*"],
    }  # fmt: skip
    run = pellucid.train("camvid-fcn8", data=tmp_path, out=tmp_path / "runs", progress=False, **overrides)
    assert 0 <= run.metrics["miou"] <= 1
    start_model = Model.load("pretrained/cifar.safetensors") if Path("pretrained").is_dir() else None
    assert start_model is not None
    start_weight = start_model.params["features"]["stem"]["conv"]["weight"]
    torch.testing.assert_close(run.model.params["features"]["stem"]["conv"]["weight"], start_weight, atol=1e-6, rtol=0)
    assert (run.path / "report.html").is_file()
    assert isinstance(fcn8(3, "airbench96"), type(run.model.net))


@pytest.mark.parametrize("size", [(27, 35), (40, 52)])
def test_onnx_file_outputs_the_models_masks(model: Model, tmp_path: Path, size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model.save(tmp_path / "m.safetensors")
    arguments = ["export", str(tmp_path / "m.safetensors"), "--to", "onnx", "--out", str(tmp_path / "m.onnx")]
    assert main([*arguments, "--size", f"{size[0]}x{size[1]}"]) == 0
    image = torch.from_numpy(draw(3, *size)[0]).permute(2, 0, 1)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": image[None].float().numpy() / 255})
    assert (logits[0].argmax(0) == Segmenter(model)(image).mask.numpy()).mean() > 0.999
    assert main([*arguments, "--size", "27"]) == 2


def test_export_of_another_size_is_refused_for_a_network_of_one_size(tmp_path: Path, capsys) -> None:
    arguments = ["export", "mnist-mlp-100", "--to", "onnx", "--out", str(tmp_path / "m.onnx"), "--size", "30x30"]
    assert main(arguments) == 2
    assert "only fits images of 28x28" in capsys.readouterr().err


def test_input_x_gradient_of_a_class_and_of_a_region_is_that_of_their_scores(model: Model) -> None:
    x = torch.from_numpy(draw(4, 27, 35)[0]).permute(2, 0, 1)[None].float() / 255
    leaf = x.clone().requires_grad_()
    scores = reference_forward(model.net, model.params, model.stats.apply(leaf), Mode())
    predicted = scores.argmax(1)[0]
    expected_scores = {
        1: scores[0, 1][predicted == 1].sum(),
        "head.scores[2, 3:9, -8:]": scores[0, 2, 3:9, -8:].sum(),
        "head.scores[0, :, 4]": scores[0, 0, :, 4].sum(),
    }
    for target, value in expected_scores.items():
        (expected,) = torch.autograd.grad(value, leaf, retain_graph=True)
        explanation = model.explain(x, "input_x_gradient", target=target)
        # the standardised input (x - mean) / std times its gradient is x - mean times the gradient of x
        torch.testing.assert_close(explanation, expected * (x - 0.5), rtol=1e-3, atol=1e-5)
    with pytest.raises(PellucidError, match="no index"):
        model.explain(x, "saliency", target="head.scores[2, 9:9, :]")
    with pytest.raises(PellucidError, match="is not an index; write integers, 3:9, or : for all"):
        model.explain(x, "saliency", target="head.scores[2, 1:2:3, :]")
    with pytest.raises(PellucidError, match="3 outputs, numbered from 0"):
        model.explain(x, "saliency", target=3)


def test_maps_of_a_backbone_are_refused_as_pixel_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert main(["explain", "backbone", str(tmp_path / "a.png")]) == 2
    assert "the model outputs (1280, None, None) for an image, no classes" in capsys.readouterr().err
