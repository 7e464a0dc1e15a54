"""The steps of a detector for one picture, the suppressed candidates, and the explanation of one box."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.detectors import YOLO1, Detector, SingleStage
from pellucid.explain import lrp
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.nested import leaves
from pellucid.ops.image_objects import Detections
from pellucid.tasks.detect import Detection
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.pipeline import WITHOUT_BIAS, DetectorSteps, run_detector
from pellucid.tasks.detect.pipeline_page import BoxPage
from pellucid.tasks.detect.thresholds import score_of
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1
from tests.detectors.two_stages import small_faster
from tests.pages import without_script
from tests.tasks.detect.test_scorer import small_fast

IMAGE = Rectangles(1, (60, 80)).example(0)[0]
MAKERS = {make.__name__: make for make in (small_single_stage, small_ssd, small_yolo1, small_faster, small_fast)}


def random_model(detector: Detector) -> Model:
    """Return a detector with random weights and many detections, whose input has half the picture's size."""
    model = Model(
        replace(detector, score_threshold=0.2, nms_threshold=0.3),
        input_shape=(3, None, None), classes=Rectangles.classes, preprocess={"size": 40},
    )  # fmt: skip
    rng = torch.Generator().manual_seed(4)
    for leaf in leaves(model.params):
        leaf.add_(0.1 * torch.randn(leaf.shape, generator=rng))
    if isinstance(detector, SingleStage):
        model.params["head"]["layer"]["out"]["bias"][:2] = 0.0
    if isinstance(detector, YOLO1):
        model.params["head"]["bias"].copy_(torch.tensor([0.5, 0.5, 0.4, 0.4, 0.6] * 2 + [0.6, 0.6]))
    return model


def detector_steps_of(name: str = "small_single_stage") -> DetectorSteps:
    return run_detector(random_model(MAKERS[name]()), IMAGE)


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_sum = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area_sum - width * height) if area_sum else 0.0


@pytest.mark.parametrize("name", MAKERS)
def test_pipeline_has_the_detections_of_the_finder(name: str) -> None:
    steps = detector_steps_of(name)
    (expected,) = ObjectFinder(steps.model).find([IMAGE])
    assert len(expected)
    torch.testing.assert_close(steps.detections.boxes, expected.boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(steps.detections.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(steps.detections.labels, expected.labels)


def test_suppressed_candidates_equal_those_of_a_loop() -> None:
    steps = detector_steps_of()
    boxes, scores = steps.outputs.candidates.boxes.tolist(), steps.outputs.candidates.scores.tolist()
    for label in range(2):
        order = sorted((k for k in range(len(boxes)) if scores[k][label] >= 0.2), key=lambda k: -scores[k][label])
        detected: list[int] = []
        expected = []
        for k in order:
            overlaps = [(index, iou(boxes[k], boxes[index])) for index in detected]
            first = next((pair for pair in overlaps if pair[1] > 0.3), None)
            if first is None:
                detected.append(k)
            else:
                expected.append((k, first[0], first[1]))
        actual = [
            (removal.candidate, int(steps.decision.selected_indices[removal.suppressor]), removal.iou)
            for removal in steps.suppressed[label]
            if removal.suppressor >= 0
        ]
        assert len(expected) > 3
        assert [pair[:2] for pair in actual] == [pair[:2] for pair in expected]
        assert [pair[2] for pair in actual] == pytest.approx([pair[2] for pair in expected], abs=1e-4)


def test_relevance_starts_from_the_score_of_the_box() -> None:
    steps = detector_steps_of()
    scorer, output = steps.scorer(2, "green"), steps.output(2, "green")
    relevance = lrp(scorer.net, scorer.params, steps.x, 0, WITHOUT_BIAS)[0].sum(0)
    score = float(steps.outputs.candidates.scores[steps.decision.selected_indices[1], 1])
    assert output == pytest.approx(float(torch.tensor(score).logit()), abs=1e-4)
    torch.testing.assert_close(steps.explain(2, "green", "lrp"), relevance * score / output)
    side_scorer = steps.scorer(2, "x1")
    expected = lrp(side_scorer.net, side_scorer.params, steps.x, 0, WITHOUT_BIAS)[0].sum(0)
    torch.testing.assert_close(steps.explain(2, "x1", "lrp"), expected)
    assert steps.explain(1, "y0", "saliency").shape == steps.image.shape[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_single_stage", "small_faster", "small_fast"])
def test_a_map_that_lost_its_sum_is_no_evidence_for_a_place(name: str) -> None:
    page = BoxPage(detector_steps_of(name), 2, methods=("saliency", "lrp"))
    candidate_score = float(page.steps.outputs.candidates.scores[page.candidate, page.label])
    is_lost = abs(float(page.maps["lrp"].sum()) - candidate_score) > 0.05 * abs(candidate_score)
    sentences = {text.split(":")[0]: text for text in page.to_json()["steps"]["depends"]}
    assert page.to_json()["marks"] == {"saliency": "", "lrp": "sum lost" if is_lost else ""}
    assert "lies in the box" in sentences["saliency"]
    assert ("lies in the box" in sentences["lrp"]) is not is_lost
    assert ("sum lost" in sentences["lrp"]) is is_lost


@pytest.mark.parametrize("name", ["small_single_stage", "small_faster", "small_fast"])
def test_page_lists_the_steps_with_their_values(name: str) -> None:
    steps = detector_steps_of(name)
    page = BoxPage(steps, 2, methods=("lrp",))
    html = without_script(page.page("Box 2", "pellucid explain").html())
    output = page.to_json()
    is_two_stage, is_fast = name in ("small_faster", "small_fast"), name == "small_fast"
    expected_steps = [
        "input",
        "scores",
        "anchor",
        *["proposals"] * is_two_stage,
        "candidates",
        "suppression",
        "detections",
        "depends",
    ]
    assert list(output["steps"]) == [step for step in expected_steps if not (is_fast and step in ("scores", "anchor"))]
    for sentences in output["steps"].values():
        assert all(text.endswith(".") for text in sentences)
    assert set(page.page("").figures) >= {"suppression", "detections", "lrp"}
    assert "is resized to 40 x 30" in output["steps"]["input"][0]
    if name == "small_single_stage":
        cell = steps.outputs.cell(int(steps.outputs.candidates.anchors[steps.decision.selected_indices[1]]))
        assert f"comes from row {cell[1]} and column {cell[2]} (counted from 0) of map {cell[0] + 1}" in html
        score = float(steps.detections.scores[1])
        assert f"The highest score for {output['class']} in this cell is {score:.3f}" in html
    removals = [removal for removal in steps.suppressed[page.class_index] if removal.suppressor == 1]
    assert f"removed {len(removals)} candidate" in output["steps"]["suppression"][1]
    assert f"There are {steps.outputs.candidates.scores.numel():,} pairs" in html
    assert output["score"] == float(steps.detections.scores[1])


def test_unknown_boxes_and_targets_are_refused() -> None:
    steps = detector_steps_of()
    count = len(steps.decision.selected_indices)
    for box in (0, count + 1):
        with pytest.raises(PellucidError, match=f"the picture has boxes 1 to {count}, from"):
            steps.index_of(box)
    with pytest.raises(PellucidError, match="no class 'gren'; did you mean 'green'"):
        steps.class_and_side(1, "gren")
    model = random_model(replace(small_single_stage(), score_threshold=0.2))
    model.objective = replace(model.objective, score_threshold=1.0)
    with pytest.raises(PellucidError, match="the picture has no detections"):
        run_detector(model, IMAGE).index_of(1)
    assert isinstance(run_detector(model, IMAGE).detections, Detections)


def test_the_area_of_each_box_leads_to_the_same_box() -> None:
    model, task = random_model(small_single_stage()), Detection()
    (found,) = ObjectFinder(model).find([IMAGE])
    seen = task.resize_to_input(model, IMAGE)
    scale = torch.tensor([IMAGE.shape[2] / seen.shape[2], IMAGE.shape[1] / seen.shape[1]]).repeat(2)
    n_areas = 0
    for number, box in enumerate(found.boxes, 1):
        if found.scores[number - 1] < score_of(model):
            with pytest.raises(PellucidError, match=f"box {number} has a score below"):
                task.area_to_explain(model, IMAGE, box=number)
            continue
        if any(torch.equal(box, other) for other in found.boxes[: number - 1]):  # another class at the same place
            with pytest.raises(PellucidError, match=f"box {number} lies where box"):
                task.area_to_explain(model, IMAGE, box=number)
            continue
        area = task.area_to_explain(model, IMAGE, box=number)
        n_areas += 1
        assert area is not None
        top, left, bottom, right = area
        assert torch.allclose(torch.tensor([left, top, right, bottom]) * scale, box, rtol=0, atol=float(scale.max()))
        assert task.score_to_explain(model, seen, None, area).label.endswith(f"of box {number}")
    assert n_areas > 1
    assert task.area_to_explain(model, IMAGE) is None


@pytest.mark.slow
def test_command_writes_page_and_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_model(small_single_stage()).save(tmp_path / "m.safetensors")
    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    arguments = ["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "a.png")]
    assert main([*arguments, "--box", "1", "--target", "y1", "--out", str(tmp_path / "out"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    names = sorted(Path(file).name for file in output["files"])
    assert names == ["gradcam.npz", "gradcam.png", "lrp.npz", "lrp.png", "page.html", "saliency.npz", "saliency.png"]
    assert all(Path(file).is_file() for file in output["files"])
    assert "The pixels that the coordinate y1 of box 1" in output["steps"]["depends"][0]
    view = tmp_path / "view.html"
    assert main([*arguments, "--box", "2", "--html", str(view), "--json"]) == 0
    assert '"place": "' in view.read_text(encoding="utf-8")
    capsys.readouterr()
    Model(Sequential(Flatten(), Dense(2)), input_shape=(3, 60, 80)).save(tmp_path / "c.safetensors")
    for wrong, message in (
        (arguments, "with --box N"),
        ([*arguments, "--box", "999"], "box 999"),
        ([*arguments, "--box", "999", "--html", str(view)], "box 999"),
        ([*arguments, "--box", "1", "--method", "lrp", "--html", str(view)], "without --method and --out"),
        ([*arguments, "--box", "1", "--pixel", "3,4"], "is not a colorizer; leave --pixel out"),
        (
            [arguments[0], str(tmp_path / "c.safetensors"), arguments[2], "--box", "1"],
            "is not a detector; leave --box out",
        ),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
