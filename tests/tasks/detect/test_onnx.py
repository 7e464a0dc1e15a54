"""ONNX files of detectors return the model's detections in onnxruntime, also for images without detections."""

import math
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.command.models import open_network
from pellucid.detectors import SSD, OneStageDetector, SingleStage
from pellucid.export import ParityError, parity, to_onnx
from pellucid.model import Model
from pellucid.nested import leaves
from pellucid.tasks.detect import onnx
from pellucid.tasks.detect.onnx_nodes import DECODERS
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.two_stages import small_faster

MAKERS = (small_single_stage, small_ssd, small_yolo3, small_yolo1)
SIZE = (37, 50)  # no multiple of the strides


def noise_images(count: int) -> torch.Tensor:
    """Return noise images, each brighter than the one before."""
    noise = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    return noise * torch.arange(1, count + 1).view(-1, 1, 1, 1) / count


def random_model(detector: OneStageDetector, seed: int = 1, **options) -> Model:
    model = Model(detector, input_shape=(3, None, None), **options)
    rng = torch.Generator().manual_seed(seed)
    for leaf in leaves(model.params):
        leaf.add_(0.1 * torch.randn(leaf.shape, generator=rng))
    return model


def model_without_detections_in_image_0(make_detector, **options) -> Model:
    """Return a model with detections in some of `noise_images`, but not in image 0."""
    for seed in range(20):
        model = random_model(make_detector(), seed, **options)
        best_scores = [
            float(candidate.scores.max())
            for candidate in model.objective.candidates(model.params, model.scaled(noise_images(4)))
        ]
        if 0 < best_scores[0] < max(best_scores):
            threshold = best_scores[0] + 1e-4 * (max(best_scores) - best_scores[0])
            model.objective = replace(model.objective, score_threshold=threshold)
            return model
    pytest.fail("no image has lower scores than the others")


def run_file(path, x: torch.Tensor) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})


def check_detections(model: Model, path, x: torch.Tensor) -> list[int]:
    """Check that the file's detections are the model's; return their number in each image."""
    boxes, scores, labels, count = run_file(path, x)
    predictions = model.predict(x)
    assert count.tolist() == [len(detections) for detections in predictions]
    assert boxes.shape == (len(x), max(count), 4)
    for k, detections in enumerate(predictions):
        n = count[k]
        np.testing.assert_allclose(boxes[k, :n], detections.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(scores[k, :n], detections.scores, rtol=1e-4)
        assert labels[k, :n].tolist() == detections.labels.tolist()
        assert not boxes[k, n:].any()
        assert not scores[k, n:].any()
        assert (labels[k, n:] == -1).all()
    return count.tolist()


@pytest.mark.parametrize("make_detector", MAKERS)
def test_onnx_file_has_the_models_detections(make_detector, tmp_path) -> None:
    model = model_without_detections_in_image_0(
        make_detector, preprocess={"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "size": 64}
    )
    path = tmp_path / "m.onnx"
    assert to_onnx(model, path, SIZE).difference <= 1e-5
    with pytest.raises(PellucidError, match="open the run or the weights that pellucid exported it from"):
        open_network(str(path))  # pellucid has no layers for the decision
    counts = check_detections(model, path, noise_images(4))
    assert counts[0] == 0
    assert sum(counts) > 0
    boxes, scores, labels, count = run_file(path, noise_images(4)[:1])  # only image 0
    assert (boxes.shape, scores.shape, labels.shape, count.tolist()) == ((1, 0, 4), (1, 0), (1, 0), [0])


def test_onnx_file_omits_boxes_without_area(tmp_path) -> None:
    model = random_model(replace(small_ssd(), score_threshold=0.0))
    for leaf in leaves(model.params):
        leaf.mul_(3)  # large offsets move boxes outside of the image
    candidates = model.objective.candidates(model.params, noise_images(2))
    assert any(bool((detections.boxes[:, 2:] <= detections.boxes[:, :2]).any()) for detections in candidates)
    to_onnx(model, tmp_path / "m.onnx", SIZE)
    assert sum(check_detections(model, tmp_path / "m.onnx", noise_images(2))) > 0
    assert all(
        bool((detections.boxes[:, 2:] > detections.boxes[:, :2]).all()) for detections in model.predict(noise_images(2))
    )


@pytest.mark.parametrize("make_detector", MAKERS)
def test_onnx_file_limits_candidates_and_detections(make_detector, tmp_path, monkeypatch) -> None:
    for module in ("pellucid.detectors.base", "pellucid.tasks.detect.onnx"):
        monkeypatch.setattr(f"{module}.MAX_CANDIDATES", 20)
        monkeypatch.setattr(f"{module}.MAX_DETECTIONS", 5)
    model = random_model(replace(make_detector(), score_threshold=0.0, nms_threshold=0.3))
    to_onnx(model, tmp_path / "m.onnx", SIZE)
    counts = check_detections(model, tmp_path / "m.onnx", noise_images(3))
    assert max(counts) == 5


def test_onnx_file_has_the_training_size_by_default(tmp_path) -> None:
    for size, expected in (((48, 64), [48, 64]), (40, [40, 40])):
        model = random_model(small_single_stage(), preprocess={"size": size}, classes=("red", "green"))
        to_onnx(model, tmp_path / "m.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        assert session.get_inputs()[0].shape == ["N", 3, *expected]
        metadata = session.get_modelmeta().custom_metadata_map
        assert metadata["classes"] == '["red", "green"]'
        assert (
            metadata["outputs"] == '"the detections of predict: boxes, scores (probabilities), labels and their count"'
        )


class InheritingSSD(SSD):
    """A subclass of SSD without changes."""


class WrongSSD(SSD):
    """A subclass of SSD with a wrong `onnx` method."""

    def onnx(self, nodes, y, anchors):
        boxes, scores = DECODERS[SSD](self, nodes, y, anchors)
        return boxes, nodes.inner("Neg", scores)


def test_subclass_is_exported_by_its_onnx_method_or_as_its_base(tmp_path) -> None:
    options = {name: value for name, value in vars(small_ssd()).items() if name in SSD.__dataclass_fields__}
    assert to_onnx(random_model(InheritingSSD(**options)), tmp_path / "m.onnx", SIZE).difference <= 1e-5
    with pytest.raises(ParityError, match="the ONNX file would differ from the network"):
        to_onnx(random_model(WrongSSD(**options)), tmp_path / "own.onnx", SIZE)


@pytest.mark.parametrize("tolerance", [1e-7, 1e-9])
def test_a_file_may_round_as_much_as_the_network(tolerance, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx, "TOLERANCE", tolerance)  # as if the network had many normalizations
    model = random_model(small_single_stage())
    assert 0 < to_onnx(model, tmp_path / "m.onnx", SIZE).difference < 1e-5
    for rounding, is_written in ((2.4e-5, False), (2.6e-5, True), (math.inf, True)):
        if is_written:
            parity.Parity(5e-5).require("the file", rounding=rounding)
            continue
        with pytest.raises(ParityError, match="would differ"):
            parity.Parity(5e-5).require("the file", rounding=rounding)
    for difference in (1.1e-4, math.inf):  # more than any rounding; NaN
        with pytest.raises(ParityError, match="would differ"):
            parity.Parity(difference).require("the file", rounding=math.inf)


def test_detectors_that_cannot_be_exported_are_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(PellucidError, match="FasterRCNN selects regions between its networks"):
        to_onnx(Model(small_faster(), input_shape=(3, None, None)), tmp_path / "m.onnx", SIZE)
    model = random_model(replace(small_single_stage(), score_threshold=0.0))
    monkeypatch.setattr(onnx, "MAX_DETECTIONS", 3)  # the file selects fewer detections
    with pytest.raises(ParityError, match="would select other detections"):
        to_onnx(model, tmp_path / "m.onnx", SIZE)
    monkeypatch.delitem(DECODERS, SingleStage)
    with pytest.raises(PellucidError, match="cannot be exported to ONNX"):
        to_onnx(model, tmp_path / "m.onnx", SIZE)
    assert not list(tmp_path.iterdir())
