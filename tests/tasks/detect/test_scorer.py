"""Networks that output one number of a candidate: their gradients compared with autograd."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.detectors import SSD, YOLO1, Detector, FasterRCNN, FastRCNN, OneStageDetector, SingleStage
from pellucid.detectors.base import join_maps
from pellucid.detectors.regions import decode_head_outputs, indexed_regions
from pellucid.explain import explain
from pellucid.layers import Mode, RoIAlign
from pellucid.tasks.detect.scorer import detector_outputs, scorer, slopes
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.two_stages import random_params, small_detector_parts, small_faster

SIZE = (33, 46)
ONE_STAGE_MAKERS = {make.__name__: make for make in (small_single_stage, small_ssd, small_yolo3, small_yolo1)}


def small_fast() -> FastRCNN:
    classes, backbone, neck, _, _, head = small_detector_parts()
    return FastRCNN(classes, backbone, neck, RoIAlign(5, 1 / 4, sampling=2), head)


MAKERS = ONE_STAGE_MAKERS | {"small_faster": small_faster, "small_fast": small_fast}


def random_parameters(detector: Detector) -> dict:
    """Return random parameters; those of YOLO v1 keep boxes inside the image, and scores between 0 and 1."""
    params = random_params(detector, (3, *SIZE))
    if isinstance(detector, YOLO1):
        params["head"]["weight"] *= 0.02
        params["head"]["bias"] = torch.tensor([0.5, 0.5, 0.4, 0.4, 0.6] * 2 + [0.5, 0.4], dtype=torch.float64)
    return params


def noisy_image() -> torch.Tensor:
    image = Rectangles(1, SIZE).example(0)[0][None].double() / 255
    return image + 0.1 * torch.rand(image.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def first_uncut_candidate(boxes: torch.Tensor, scores: torch.Tensor) -> int:
    """Return the first candidate whose box is inside the image and whose scores are above 0 and below 1."""
    height, width = SIZE
    is_low_inside, is_high_inside = (boxes[:, :2] > 0).all(1), (boxes[:, 2:] < torch.tensor([width, height])).all(1)
    has_area = (boxes[:, 2:] - boxes[:, :2] > 0.5).all(1)
    return int((is_low_inside & is_high_inside & has_area & ((scores > 0) & (scores < 1)).all(1)).nonzero()[0, 0])


def reference(detector, params, x: torch.Tensor, candidate: int, label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the box (4,) of a candidate and its logit for a class (for YOLO v1 the score), by the detector's parts."""
    steps = detector_outputs(detector, params, x)
    if isinstance(detector, OneStageDetector):
        score, box = steps.candidates.scores[candidate, label], steps.candidates.boxes[candidate]
        if isinstance(detector, YOLO1):
            return box, score
        if isinstance(detector, SingleStage):
            return box, score.logit()
        y = join_maps(steps.maps, detector.outputs_per_anchor)[0, candidate]
        return box, y[label + 1] if isinstance(detector, SSD) else y[4] + y[5 + label]
    proposals = steps.proposals.detach()
    maps, _ = detector.neck.forward(params["neck"], detector.backbone.forward(params["backbone"], x, Mode())[0], Mode())
    pooled, _ = detector.align.forward({}, (maps[0], indexed_regions([proposals])), Mode())
    y, _ = detector.head.forward(params["head"], pooled, Mode())
    return decode_head_outputs(y, proposals)[0][candidate], y[candidate, label]


@pytest.mark.parametrize("name", MAKERS)
def test_gradient_of_scorer_equals_automatic_differentiation(name: str) -> None:
    detector = MAKERS[name]()
    params = random_parameters(detector)
    x = noisy_image().requires_grad_()
    steps = detector_outputs(detector, params, x)
    candidate = first_uncut_candidate(steps.candidates.boxes, steps.candidates.scores)
    box, logit = reference(detector, params, x, candidate, 1)
    for side, value in ((None, logit), *enumerate(box)):
        (expected,) = torch.autograd.grad(value, x, retain_graph=True)
        side_scorer = scorer(detector, params, steps, candidate, 1, side)
        gradient = explain(side_scorer.net, side_scorer.params, x.detach(), "saliency", 0, signed=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
        assert bool(expected.any())
        maps = explain(
            side_scorer.net, side_scorer.params, x.detach(), "gradcam", 0, layer=side_scorer.path, local=True
        )
        assert maps.shape == (1, 1, *SIZE)
    if name != "small_yolo1":  # its score is a product
        output = scorer(detector, params, steps, candidate, 1)
        value = output.net.forward(output.params, x.detach(), Mode(keep=False))[0]
        torch.testing.assert_close(value.squeeze(), logit.detach())


@pytest.mark.parametrize("name", ONE_STAGE_MAKERS)
def test_anchors_lie_in_their_cells(name: str) -> None:
    detector = ONE_STAGE_MAKERS[name]()
    params = random_params(detector, (3, *SIZE))
    steps = detector_outputs(detector, params, noisy_image())
    assert steps.anchors is not None
    strides = getattr(detector, "strides", None) or (detector.stride,)
    for anchor, box in enumerate(steps.anchors.boxes.tolist()):
        level, row, column = steps.cell(anchor)
        centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        assert centre == pytest.approx(((column + 0.5) * strides[level], (row + 0.5) * strides[level]))
    best_scores = steps.score_maps(0)
    assert [map_.shape for map_ in best_scores] == [map_.shape[2:] for map_ in steps.maps]
    for k in range(0, len(steps.scores), 7):
        level, row, column = steps.cell(int(steps.candidates.anchors[k]))
        assert best_scores[level][row, column] >= steps.scores[k, 0]
    assert max(float(map_.max()) for map_ in best_scores) == float(steps.scores[:, 0].max())


def test_candidates_have_the_anchors_of_their_proposals() -> None:
    detector: FasterRCNN = small_faster()
    params = random_params(detector, (3, *SIZE))
    steps = detector_outputs(detector, params, noisy_image())
    assert steps.proposals is not None
    proposer = detector.proposer
    assert steps.anchors is not None
    boxes, scores = proposer.decode(join_maps(steps.maps, 5)[0], steps.anchors)
    anchor_indices = steps.candidates.anchors
    torch.testing.assert_close(
        boxes[anchor_indices].clamp_min(0).minimum(torch.tensor([46, 33, 46, 33])), steps.proposals
    )
    assert bool((scores[anchor_indices, 0].diff() <= 0).all())
    torch.testing.assert_close(steps.scores, scores)


def test_detector_without_registered_function_is_refused() -> None:
    for function, arguments in ((detector_outputs, 2), (scorer, 4), (slopes, 5)):
        with pytest.raises(PellucidError, match=f"SingleStage .*; register a function by {function.__name__}.register"):
            function.dispatch(object)(small_single_stage(), *[None] * arguments)
