"""The steps of a picture through a detector, what suppression removed, and the explanation of one box."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.detectors import YOLO1, Detector, SingleStage
from pellucid.errors import PellucidError
from pellucid.explain import lrp
from pellucid.image_objects import Detections
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.nested import leaves
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.pipeline import WITHOUT_BIAS, Pipeline, pipeline
from pellucid.tasks.detect.pipeline_page import BoxPage
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1
from tests.detectors.two_stages import small_faster
from tests.pages import without_script
from tests.tasks.detect.test_walk import small_fast

IMAGE = Rectangles(1, (60, 80)).example(0)[0]
FAMILIES = {one.__name__: one for one in (small_single_stage, small_ssd, small_yolo1, small_faster, small_fast)}


def model(detector: Detector) -> Model:
    """A detector with random weights that finds a lot; its images are half as large as the picture."""
    it = Model(
        replace(detector, score_threshold=0.2, nms_threshold=0.3),
        input_shape=(3, None, None), classes=Rectangles.classes, preprocess={"size": 40},
    )  # fmt: skip
    rng = torch.Generator().manual_seed(4)
    for leaf in leaves(it.params):
        leaf.add_(0.1 * torch.randn(leaf.shape, generator=rng))
    if isinstance(detector, SingleStage):
        it.params["head"]["layer"]["out"]["bias"][:2] = 0.0
    if isinstance(detector, YOLO1):
        it.params["head"]["bias"].copy_(torch.tensor([0.5, 0.5, 0.4, 0.4, 0.6] * 2 + [0.6, 0.6]))
    return it


def run(name: str = "small_single_stage") -> Pipeline:
    return pipeline(model(FAMILIES[name]()), IMAGE)


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height) if both else 0.0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_steps_end_in_what_predict_returns(name: str) -> None:
    it = run(name)
    (expected,) = ObjectFinder(it.model).find([IMAGE])
    assert len(expected)
    torch.testing.assert_close(it.detections.boxes, expected.boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(it.detections.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(it.detections.labels, expected.labels)


def test_removed_boxes_equal_those_of_a_loop() -> None:
    it = run()
    boxes, scores = it.walk.candidates.boxes.tolist(), it.walk.candidates.scores.tolist()
    for label in range(2):
        order = sorted((k for k in range(len(boxes)) if scores[k][label] >= 0.2), key=lambda k: -scores[k][label])
        kept: list[int] = []
        expected = []
        for k in order:
            over = [(other, iou(boxes[k], boxes[other])) for other in kept]
            first = next((pair for pair in over if pair[1] > 0.3), None)
            if first is None:
                kept.append(k)
            else:
                expected.append((k, first[0], first[1]))
        actual = [(one.candidate, int(it.decision.chosen[one.by]), one.iou) for one in it.removed[label] if one.by >= 0]
        assert len(expected) > 3
        assert [pair[:2] for pair in actual] == [pair[:2] for pair in expected]
        assert [pair[2] for pair in actual] == pytest.approx([pair[2] for pair in expected], abs=1e-4)


def test_relevance_starts_with_the_score_of_the_box() -> None:
    it = run()
    scorer, output = it.scorer(2, "green"), it.output(2, "green")
    raw = lrp(scorer.net, scorer.params, it.x, 0, WITHOUT_BIAS)[0].sum(0)
    score = float(it.walk.candidates.scores[it.decision.chosen[1], 1])
    assert output == pytest.approx(float(torch.tensor(score).logit()), abs=1e-4)
    torch.testing.assert_close(it.explain(2, "green", "lrp"), raw * score / output)
    side = it.scorer(2, "x1")
    expected = lrp(side.net, side.params, it.x, 0, WITHOUT_BIAS)[0].sum(0)
    torch.testing.assert_close(it.explain(2, "x1", "lrp"), expected)
    assert it.explain(1, "y0", "saliency").shape == it.image.shape[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_single_stage", "small_faster", "small_fast"])
def test_the_page_lists_the_steps_with_their_values(name: str) -> None:
    it = run(name)
    page = BoxPage(it, 2, methods=("lrp",))
    html = without_script(page.page("Box 2", "pellucid explain").html())
    told = page.to_json()
    two, fast = name in ("small_faster", "small_fast"), name == "small_fast"
    steps = ["input", "scores", "anchor", *["proposals"] * two, "candidates", "suppression", "detections", "depends"]
    assert list(told["steps"]) == [step for step in steps if not (fast and step in ("scores", "anchor"))]
    for sentences in told["steps"].values():
        assert all(text.endswith(".") for text in sentences)
    assert set(page.page("").figures) >= {"suppression", "detections", "lrp"}
    assert "is resized to 40 x 30" in told["steps"]["input"][0]
    if name == "small_single_stage":
        cell = it.walk.cell(int(it.walk.candidates.anchors[it.decision.chosen[1]]))
        assert f"comes from row {cell[1]} and column {cell[2]} (counted from 0) of map {cell[0] + 1}" in html
        score = float(it.detections.scores[1])
        assert f"The highest score for {told['class']} in this cell is {score:.3f}" in html
    mine = [one for one in it.removed[page.class_index] if one.by == 1]
    assert f"removed {len(mine)} candidate" in told["steps"]["suppression"][1]
    assert f"There are {it.walk.candidates.scores.numel():,} pairs" in html
    assert told["score"] == float(it.detections.scores[1])


def test_boxes_and_targets_that_do_not_exist_are_refused() -> None:
    it = run()
    count = len(it.decision.chosen)
    for box in (0, count + 1):
        with pytest.raises(PellucidError, match=f"the picture has boxes 1 to {count}, as"):
            it.index_of(box)
    with pytest.raises(PellucidError, match="no class 'gren'; did you mean 'green'"):
        it.aimed(1, "gren")
    nothing = model(replace(small_single_stage(), score_threshold=0.2))
    nothing.objective = replace(nothing.objective, score_threshold=1.0)
    with pytest.raises(PellucidError, match="the picture has no detections"):
        pipeline(nothing, IMAGE).index_of(1)
    assert isinstance(pipeline(nothing, IMAGE).detections, Detections)


@pytest.mark.slow
def test_the_command_writes_page_and_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(small_single_stage()).save(tmp_path / "m.safetensors")
    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    words = ["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "a.png")]
    assert main([*words, "--box", "1", "--target", "y1", "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = sorted(Path(file).name for file in told["files"])
    assert names == ["gradcam.npz", "gradcam.png", "lrp.npz", "lrp.png", "page.html", "saliency.npz", "saliency.png"]
    assert all(Path(file).is_file() for file in told["files"])
    assert "The pixels that the coordinate y1 of box 1" in told["steps"]["depends"][0]
    Model(Sequential(Flatten(), Dense(2)), input_shape=(3, 60, 80)).save(tmp_path / "c.safetensors")
    for wrong, message in (
        (words, "with --box N"),
        ([*words, "--box", "999"], "box 999"),
        ([*words, "--box", "1", "--pixel", "3,4"], "is not a colorizer; leave --pixel out"),
        ([words[0], str(tmp_path / "c.safetensors"), words[2], "--box", "1"], "is not a detector; leave --box out"),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
