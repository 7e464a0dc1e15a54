"""Key-points of drawn dots: training, prediction on pictures of any size, evaluation, explanation, commands."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from benchmarks.baselines import mean_shape_error, nearest_points_error
from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.data import Augment, DetectionFolder
from pellucid.data.keypoints import KeypointSource
from pellucid.export import to_onnx
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, Mode, ReLU, SoftArgmax
from pellucid.losses import Coordinates, HeatMaps
from pellucid.metrics import NME
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.report.figures.pictures import worst_keypoints
from pellucid.tasks.keypoints import Keypoints
from pellucid.tasks.keypoints.finder import KeypointFinder, explain_point, pad_and_resize
from pellucid.tasks.keypoints.measure import evaluate
from pellucid.tasks.keypoints.report import find_worst_images
from pellucid.tasks.pictures import class_names
from pellucid.tasks.segment.segmenter import is_segmenter
from tests.tasks.keypoints.drawn import POINT_NAMES, draw, write

NME_METRIC = NME(normalise=(0, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dots")
    write(root, "train", 32, 0)
    write(root, "val", 6, 100)
    return root


def source(folder: Path, part: str) -> KeypointSource:
    return KeypointSource(DetectionFolder(folder, part))


def network() -> Sequential:
    return Sequential(
        conv1=Conv2d(8, 5, padding=2, bias=False), norm1=BatchNorm(), relu1=ReLU(),
        conv2=Conv2d(8, 5, padding=2, bias=False), norm2=BatchNorm(), relu2=ReLU(), scores=Conv2d(3, 1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    train = source(folder, "train")
    model = Model(
        network(), HeatMaps(stride=1), Adam(lr=0.02), [NME_METRIC], input_shape=(3, 24, 24),
        preprocess={"data": str(folder), "keypoints": {"of": train.kind, "names": [*train.names]}},
    )  # fmt: skip
    augment = Augment(rotate=15, zoom=0.1, flip=True, swaps=())  # each point is known by its colour
    history = model.fit(train, epochs=8, batch_size=8, augment=augment, validation=source(folder, "val"), verbose=False)
    assert history["val_nme"][-1] < 0.08 < history["val_nme"][0]
    return model


def test_targets_are_the_annotated_points(folder: Path) -> None:
    data = source(folder, "train")
    assert (len(data), data.names, data.kind, data.swaps) == (32, POINT_NAMES, "triangle", None)
    batch = data.batch([7, 3], torch.Generator())
    assert batch.images.shape == (2, 3, 24, 24)
    assert batch.targets.shape == (2, 3, 3)
    np.testing.assert_allclose(batch.targets[0, :, :2], draw(7)[1], atol=1e-4)
    assert batch.targets[..., 2].unique().tolist() == [2.0]
    assert data.checksum != source(folder, "val").checksum != data.source.checksum


def test_images_without_objects_are_left_out_and_data_without_key_points_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    annotations = json.loads((tmp_path / "val.json").read_text())
    del annotations["annotations"][2]
    (tmp_path / "val.json").write_text(json.dumps(annotations))
    assert source(tmp_path, "val").objects == ((0, 0), (1, 0), (3, 0), (4, 0), (5, 0))
    assert f"{tmp_path}: 1 image without labelled key-points left out" in capsys.readouterr().err
    for annotation in annotations["annotations"]:
        del annotation["keypoints"]
    for category in annotations["categories"]:
        del category["keypoints"]
    (tmp_path / "val.json").write_text(json.dumps(annotations))
    with pytest.raises(PellucidError, match="the annotations have no key-points; give data with key-points"):
        source(tmp_path, "val")


def errors_by_loop(finder: KeypointFinder, seeds: range, size: tuple[int, int], scale: float) -> list[float]:
    errors = []
    for seed in seeds:
        picture, points = draw(seed, *size, scale)
        (result,) = finder([torch.from_numpy(picture).permute(2, 0, 1)])
        distances = [math.dist(a, b) for a, b in zip(result[:, :2].tolist(), points.tolist(), strict=True)]
        errors.append(sum(distances) / 3 / math.dist(points[0], points[1]))
    return errors


def test_error_equals_a_loop_over_the_pictures(model: Model, folder: Path) -> None:
    evaluation = evaluate(model)
    errors = errors_by_loop(KeypointFinder(model), range(100, 106), (24, 24), 1.0)
    assert evaluation["nme"] == pytest.approx(sum(errors) / 6, rel=1e-5)
    assert evaluation["nme"] == pytest.approx(model.evaluate(source(folder, "val"))["nme"], rel=1e-5)
    assert (evaluation["n"], evaluation["data"]) == (6, str(folder))
    low, high = evaluation["nme_interval"]
    assert min(errors) <= low < evaluation["nme"] < high <= max(errors)


@pytest.mark.parametrize(("size", "scale"), [((72, 72), 3.0), ((48, 64), 2.0), ((60, 40), 2.0)])
def test_points_are_predicted_for_pictures_of_any_size(model: Model, size: tuple[int, int], scale: float) -> None:
    errors = errors_by_loop(KeypointFinder(model), range(200, 206), size, scale)
    assert sum(errors) / 6 < 0.1


def test_padded_picture_has_the_networks_proportions_and_points_are_converted_back() -> None:
    picture = torch.arange(2 * 6, dtype=torch.uint8).view(1, 2, 6)
    x, frame = pad_and_resize(picture, (3, 3))
    assert x.shape == (1, 3, 3)
    assert frame.to_picture(torch.tensor([[0.0, 1.5, 0.5], [3.0, 1.0, 1.0]])).tolist() == [[0, 1, 0.5], [6, 0, 1]]
    unpadded, frame = pad_and_resize(torch.arange(9, dtype=torch.uint8).view(1, 3, 3), (3, 3))
    assert unpadded.flatten().tolist() == list(range(9))
    assert (frame.left, frame.top, frame.scale) == (0, 0, (1, 1))
    row, _ = pad_and_resize(torch.tensor([[[10, 20, 30, 40]]], dtype=torch.uint8), (4, 4))
    assert row[0].tolist() == [[10, 20, 30, 40]] * 4  # padded with the border's pixels


def test_other_models_and_images_of_other_channels_are_refused(model: Model) -> None:
    plain = Model(Sequential(flat=Flatten(), scores=Dense(3)), input_shape=(3, 4, 4))
    with pytest.raises(PellucidError, match="the model outputs no key-points; give one that does"):
        KeypointFinder(plain)
    assert not is_segmenter(model)
    with pytest.raises(PellucidError, match="the model outputs key-points, no classes; use `pellucid keypoints`"):
        class_names(model)
    with pytest.raises(PellucidError, match=r"takes uint8 images with 3 channels, not uint8 of shape \(1, 5, 5\)"):
        KeypointFinder(model)([torch.zeros(1, 5, 5, dtype=torch.uint8)])


@pytest.mark.slow
def test_command_writes_overlays_and_annotations_that_pycocotools_reads(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    model.save(tmp_path / "m.safetensors")
    out = tmp_path / "out"
    arguments = ["keypoints", str(tmp_path / "m.safetensors"), str(folder / "val"), "--out", str(out), "--json"]
    assert main(arguments) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["names"] == list(POINT_NAMES)
    assert [row["image"] for row in output["pictures"]] == [f"a_{k:02d}.png" for k in range(6)]
    with Image.open(output["pictures"][1]["overlay"]) as overlay_file:
        assert overlay_file.size == (24 * 17, 24 * 17)  # at least 400 pixels
        overlay = np.array(overlay_file).astype(int)
    for x, y, _ in output["pictures"][1]["keypoints"]:
        r, g, b = overlay[int(y * 17), int(x * 17)]
        assert (abs(r - 213), abs(g - 94), abs(b - 0)) < (20, 20, 20)  # the orange of the figures
    coco = pycocotools.COCO(output["annotations"])
    points = np.array([annotation["keypoints"] for annotation in coco.loadAnns(coco.getAnnIds())]).reshape(6, 3, 3)
    np.testing.assert_allclose(points[:, :, :2], [np.array(row["keypoints"])[:, :2] for row in output["pictures"]])
    shutil.copytree(folder / "val", out, dirs_exist_ok=True)
    written_source = written_annotations(out)
    np.testing.assert_allclose(
        written_source.batch(range(6), torch.Generator()).targets[:, :, :2], points[:, :, :2], atol=1e-4
    )
    assert written_source.names == POINT_NAMES
    capsys.readouterr()  # discard pycocotools' output
    assert main(arguments[:-1]) == 0  # its own files are overwritten
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out / 'a_00-keypoints.png'}: 3 points, mean score ")
    assert lines[-1] == f"wrote {out / 'keypoints.json'}"


def written_annotations(folder: Path) -> KeypointSource:
    return KeypointSource(DetectionFolder(folder, "keypoints.json"))


def test_command_without_output_folder_prints_points_and_names_damaged_pictures(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "m.safetensors")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(folder / "val" / "a_00.png", pictures / "a.png")
    (pictures / "b.png").write_bytes(b"no picture")
    assert main(["keypoints", str(tmp_path / "m.safetensors"), str(pictures), "--json"]) == 2
    captured = capsys.readouterr()
    output = json.loads(captured.out)
    assert [row["image"] for row in output["pictures"]] == ["a.png"]
    assert [row["image"] for row in output["skipped"]] == ["b.png"]
    assert "b.png" in captured.err
    assert output["annotations"] is None
    assert sorted(file.name for file in pictures.iterdir()) == ["a.png", "b.png"]


def test_input_pictures_are_not_overwritten(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "m.safetensors")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.png", "a-keypoints.png"):
        Image.fromarray(draw(1)[0]).save(pictures / name)
    arguments = ["keypoints", str(tmp_path / "m.safetensors"), str(pictures / "a.png"), "--out"]
    assert main([*arguments, str(pictures)]) == 2
    assert "a-keypoints.png would be overwritten" in capsys.readouterr().err
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    (other_folder / "keypoints.json").write_text("{}")
    assert main([*arguments, str(other_folder)]) == 2
    assert "keypoints.json would be overwritten" in capsys.readouterr().err
    assert (other_folder / "keypoints.json").read_text() == "{}"


def test_command_evaluates_a_folder_of_coco(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "m.safetensors")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(folder), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    precision = {"keypoint_ap", "keypoint_ap50"}
    assert {"nme", "nme_interval", "n", "nme_left_out", "data", "model", "engine"} | precision == output.keys()
    assert output["nme"] == pytest.approx(evaluate(model)["nme"])
    single_part = tmp_path / "alone"
    write(single_part, "all", 3, 100)
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(single_part)]) == 0
    assert "on 3 objects" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "m.safetensors"), "--samples", "2", "--batch", "2"]) == 0


def rename_points(folder: Path, names: tuple[str, ...]) -> None:
    for file in folder.glob("*.json"):
        content = json.loads(file.read_text())
        content["categories"][0]["keypoints"] = list(names)
        file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("trained_names", "names", "is_refused"),
    [
        (POINT_NAMES, POINT_NAMES, False),
        (POINT_NAMES, ("green", "red", "blue"), True),
        (POINT_NAMES, ("nose", "chin", "ear"), True),
        (("p0", "p1", "p2"), ("point_1", "point_2", "point_3"), False),
        (("p0", "p1", "p2"), ("p2", "p1", "p0"), True),
        (("p0", "p1", "p2"), POINT_NAMES, False),
    ],
)
def test_key_points_of_other_names_are_refused_with_both_lists(
    trained_names: tuple[str, ...], names: tuple[str, ...], is_refused: bool, model: Model, tmp_path: Path
) -> None:
    write(tmp_path / "named", "val", 3, 100)
    rename_points(tmp_path / "named", names)
    model.save(tmp_path / "m.safetensors")
    renamed = Model.load(tmp_path / "m.safetensors")
    renamed.preprocess["keypoints"] = {"of": "triangle", "names": list(trained_names)}
    if not is_refused:
        assert evaluate(renamed, str(tmp_path / "named"))["n"] == 3
        return
    message = f"has the key-points {', '.join(names)}, but the model has {', '.join(trained_names)}; give data with"
    with pytest.raises(PellucidError, match=message):
        evaluate(renamed, str(tmp_path / "named"))
    with pytest.raises(PellucidError, match=message):
        Keypoints().check_data(renamed, source(tmp_path / "named", "val"), "named")


def test_baselines_equal_loops(folder: Path) -> None:
    train, test = ([draw(first + k) for k in range(count)] for first, count in ((0, 32), (100, 6)))
    mean = np.mean([points for _, points in train], 0)

    def error(points: np.ndarray, truth: np.ndarray) -> float:
        return float(np.linalg.norm(points - truth, axis=1).mean() / np.linalg.norm(truth[0] - truth[1]))

    expected = np.mean([error(mean, truth) for _, truth in test])
    assert mean_shape_error(source(folder, "train"), source(folder, "val"), (0, 1)) == pytest.approx(expected, rel=1e-5)
    nearest_errors = []
    for picture, truth in test:
        distances = [np.linalg.norm(picture.astype(float) - other) for other, _ in train]
        nearest_errors.append(error(train[int(np.argmin(distances))][1], truth))
    actual = nearest_points_error(source(folder, "train"), source(folder, "val"), (0, 1))
    assert actual == pytest.approx(np.mean(nearest_errors), rel=1e-5)


def test_explanation_of_a_heat_map_is_the_gradient_of_the_expected_position(model: Model) -> None:
    picture = torch.from_numpy(draw(102)[0]).permute(2, 0, 1)
    explanation = explain_point(model, picture, 2, "x", "saliency")
    x = (picture[None].float() / 255).requires_grad_()
    p = model.net.forward(model.params, x, Mode())[0][0, 2].flatten().softmax(0).view(24, 24)
    (dx,) = torch.autograd.grad((p.sum(0) * (torch.arange(24) + 0.5)).sum(), x)
    torch.testing.assert_close(explanation, dx[0].abs().amax(0) / 24, rtol=1e-3, atol=1e-7)
    assert explanation.shape == (24, 24)
    (points,) = KeypointFinder(model)([picture])
    rows, columns = np.mgrid[:24, :24] + 0.5
    is_near = np.hypot(columns - float(points[2, 0]), rows - float(points[2, 1])) < 5
    assert float(explanation[torch.from_numpy(is_near)].sum()) > 0.6 * float(explanation.sum())  # 14 % of the pixels


def test_explanation_of_a_regressed_point_is_its_gradient_times_the_input(folder: Path) -> None:
    net = Sequential(conv=Conv2d(4, 3, stride=4), relu=ReLU(), flat=Flatten(), scores=Dense(6))
    model = Model(net, Coordinates((24, 24)), Adam(3e-3), [NME_METRIC], input_shape=(3, 24, 24))
    history = model.fit(
        source(folder, "train"), epochs=6, batch_size=8, validation=source(folder, "val"), verbose=False
    )
    assert history["val_nme"][-1] < 0.5 * history["val_nme"][0]
    picture = torch.from_numpy(draw(102)[0]).permute(2, 0, 1)
    explanation = explain_point(model, picture, 1, "y", "input_x_gradient")
    x = (picture[None].float() / 255).requires_grad_()
    (dx,) = torch.autograd.grad(model.net.forward(model.params, x, Mode())[0][0, 3], x)
    torch.testing.assert_close(explanation, (dx * x).detach()[0].sum(0), rtol=1e-3, atol=1e-6)
    with pytest.raises(PellucidError, match="point 3: the model has 3 points, counted from 0"):
        explain_point(model, picture, 3, "y")


def test_key_point_model_is_saved_verified_traced_and_exported(model: Model, folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    batch = source(folder, "val").batch([0, 1], torch.Generator())
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    assert loaded.loss == HeatMaps(stride=1)
    assert torch.equal(loaded.predict(batch.images), model.predict(batch.images))
    assert loaded.verify(batch.images, batch.targets, samples=2).ok
    trace = loaded.trace(batch.images, batch.targets)
    assert trace["loss.cost"].shape == (2, 3)
    position = Sequential(maps=model.net, points=SoftArgmax())
    coordinate_model = Model(position, Coordinates((24, 24)), input_shape=(3, 24, 24))
    for path, leaf in model.weights.items():
        coordinate_model.weights[f"maps.{path}"].copy_(leaf)
    torch.testing.assert_close(coordinate_model.predict(batch.images)[..., :2], model.predict(batch.images)[..., :2])
    to_onnx(coordinate_model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"input": batch.images.float().numpy() / 255})
    np.testing.assert_allclose((result.reshape(2, 3, 2) + 0.5) * 24, model.predict(batch.images)[..., :2], atol=1e-3)


@pytest.mark.heavy
@pytest.mark.slow
def test_recipe_trains_on_a_folder_of_coco_and_reports_the_worst_pictures(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    settings = {
        "data.name": str(folder), "network.points": 3, "network.width": 4, "start.weights": "", "train.epochs": 1,
        "augment.swaps": [], "train.metrics": [], "train.frozen": [], "train.rates": [],
    }  # fmt: skip
    run = pellucid.train("faces-heatmap", out=tmp_path, progress=False, **settings)
    assert run.metrics["n"] == 6
    assert run.model.preprocess["keypoints"] == {"of": "triangle", "names": list(POINT_NAMES)}
    assert run.report.is_file()
    worst = find_worst_images(model, source(folder, "val"), 2)
    assert worst is not None
    errors = errors_by_loop(KeypointFinder(model), range(100, 106), (24, 24), 1.0)
    assert worst.errors == pytest.approx(sorted(errors, reverse=True)[:2], rel=1e-4)
    picture, points = draw(100 + int(np.argmax(errors)))
    assert np.array_equal(worst.images[0], picture)
    np.testing.assert_allclose(worst.true[0, :, :2], points, atol=1e-4)
    figure = worst_keypoints(worst.images, worst.true, worst.predicted, worst.errors)
    assert figure is not None
    assert [plot.get_title() for plot in figure.axes[:2]] == [f"{100 * error:.1f} %" for error in worst.errors]
    with pytest.raises(PellucidError, match="digits has no key-points, which the loss needs"):
        pellucid.train("faces-heatmap", out=tmp_path, progress=False, **settings | {"data.name": "digits"})
