"""The page of one box: the steps by which a detector computes it, and the pixels that it depends on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.base.text import plural
from pellucid.detectors import FATES, FastRCNN, Fate
from pellucid.explain.methods import MAGNITUDES
from pellucid.explain.verdicts import SUM_LOST, ZERO, map_caveat, zero_verdict
from pellucid.ops.boxes import box_iou
from pellucid.report.figures.objects import Cell, attribution, draw_box_groups, score_maps
from pellucid.report.sections import FigurePart, FigureRow, Page, Section, SectionPart, TablePart
from pellucid.tasks.detect.pipeline import METHODS, SIDES, DetectorSteps, SuppressedCandidate
from pellucid.tasks.detect.thresholds import score_of

MAX_ROWS = 12  # in the table of candidates
MIN_IOU = 0.3  # minimum IoU of the listed candidates with the box
MAX_PROPOSALS = 40  # in a figure


class BoxPage:
    """The steps and figures of one detection in an image.

    steps: the intermediate results of the detector. box: the number of the detection, from 1. explained_output: a
    class or a side, see `DetectorSteps.class_and_side`. detection_index: the index of the detection. class_index: its
    class. candidate: the index of its candidate. label, side: the explained class, or the explained side of the box.
    """

    def __init__(
        self, steps: DetectorSteps, box: int, explained_output: str | None = None, methods: Sequence[str] = METHODS
    ) -> None:
        self.steps, self.box, self.explained_output, self.methods = steps, box, explained_output, methods
        self.detection_index = steps.index_of(box)
        self.label, self.side = steps.class_and_side(box, explained_output)
        self.class_index = int(steps.decision.detections.labels[self.detection_index])
        self.candidate = int(steps.decision.selected_indices[self.detection_index])
        self.boxes = steps.decision.detections.boxes
        self.image = steps.image.float() / 255
        self.maps: dict[str, Tensor] = {}
        self.caveats: dict[str, str] = {}  # of the maps, see `map_caveat`
        sections = [self._input(), self._scores(), self._anchor(), self._proposals(), self._candidates()]
        sections += [self._suppression(), self._detections(), self._attributions()]
        self.sections = [step for step in sections if step is not None]

    @property
    def name(self) -> str:
        """The number and class of the box, as in "box 3 (RBC)"."""
        return f"box {self.box} ({self.steps.classes[self.class_index]})"

    @property
    def title(self) -> str:
        """The name, capitalized for the beginning of a sentence."""
        return f"B{self.name[1:]}"

    def page(self, title: str, command: str = "") -> Page:
        """Return the steps as a page."""
        return Page(title, self.sections, command=command)

    def to_json(self) -> dict[str, Any]:
        """Return the sentences by step, and the class, score and coordinates of the box, as JSON values."""
        detections = self.steps.detections
        return {
            "box": self.box,
            "class": self.steps.classes[self.class_index],
            "score": float(detections.scores[self.detection_index]),
            "place": detections.boxes[self.detection_index].tolist(),
            "steps": {step.id: sentences(step) for step in self.sections},
            "marks": self.caveats,
        }

    def _input(self) -> Section:
        (height, width), (h, w) = self.steps.size, self.steps.input_size
        text = f"The picture has {width} x {height} pixels"
        text += f" and is resized to {w} x {h}." if (h, w) != (height, width) else "."
        text = f"{text} Boxes are in pixels of this input, except in the table of detections."
        return _step("input", "Input", [text])

    def _scores(self) -> Section | None:
        outputs, steps = self.steps.outputs, self.steps
        if not outputs.maps:
            return None
        sizes = [f"{map_.shape[2]} x {map_.shape[3]}" for map_ in outputs.maps]
        is_two_stage = outputs.proposals is not None
        outputs_text = (
            "one objectness score for each"
            if is_two_stage
            else f"a score for each of {plural(outputs.scores.shape[1], 'class', 'classes')}"
        )
        stage_name = "The first stage" if is_two_stage else "The network"
        level, row, column = self._cell()
        maps = outputs.score_maps(self.class_index)
        all_scores = torch.cat([map_.flatten() for map_ in maps])
        score = float(maps[level][row, column])
        rank = int((all_scores > score).sum()) + 1
        class_text = "" if is_two_stage else f" for {steps.classes[self.class_index]}"
        source = f"The proposal of {self.name}" if is_two_stage else self.title
        sentences = [
            f"{stage_name} outputs {plural(len(sizes), 'map')} of {', '.join(sizes)} cells (rows x columns), with "
            f"{sum(outputs.anchor_counts):,} anchors in all, and {outputs_text}.",
            f"{source} comes from row {row} and "
            f"column {column} (counted from 0) of map {level + 1}. The highest score{class_text} in this cell is "
            f"{score:.3f}, rank {rank:,} of {len(all_scores):,} cells.",
        ]
        map_names = [f"map {k}, {size}" for k, size in enumerate(sizes, 1)]
        caption = f"Highest score of each cell{class_text}; white: the cell of {self.name}"
        figure = score_maps(self.image, maps, map_names, Cell(level, row, column), self.boxes[self.detection_index])
        return _step("scores", "Score maps", [*sentences, _figure_row(("scores", figure, caption))])

    def _anchor(self) -> Section | None:
        outputs = self.steps.outputs
        if outputs.anchors is None:
            return None
        anchor = outputs.anchors.boxes[int(outputs.candidates.anchors[self.candidate])]
        target = self.boxes[self.detection_index] if outputs.proposals is None else outputs.proposals[self.candidate]
        kind = "box" if outputs.proposals is None else "proposal"
        sentence = (
            f"The anchor of {self.name} is {_size_text(anchor)}. {_offset_sentence(anchor, target, f'The {kind}')}"
        )
        figure = draw_box_groups(
            self.image,
            [
                ("pale", self._nearby_anchors(target), True),
                ("source", anchor[None], True),
                ("box", target[None], False),
            ],
        )
        caption = f"Anchor (green, dashed) and {kind} (orange); grey: the other anchors at the centre of the {kind}"
        return _step("anchor", "Anchors", [sentence, _figure_row(("anchor", figure, caption))])

    def _proposals(self) -> Section | None:
        outputs, steps = self.steps.outputs, self.steps
        if outputs.proposals is None or outputs.head_outputs is None:
            return None
        proposal = outputs.proposals[self.candidate]
        scores = outputs.candidates.scores[self.candidate]
        classes = [f"{name} {float(score):.3f}" for name, score in zip(steps.classes, scores, strict=True)]
        if isinstance(steps.detector, FastRCNN):
            sentences = [
                f"{len(outputs.proposals):,} proposals are found without learning, by "
                f"{steps.detector.by.replace('_', ' ')}."
            ]
        else:
            sentences = [
                f"Suppression among the boxes of the first stage keeps {len(outputs.proposals):,} proposals. The one "
                f"of {self.name} is number {self.candidate + 1} by score, "
                f"{float(outputs.scores[int(outputs.candidates.anchors[self.candidate]), 0]):.3f}."
            ]
        sentences.append(
            f"From the proposal the head outputs the probabilities {', '.join(classes)} and background "
            f"{float(1 - scores.sum()):.3f}. {_offset_sentence(proposal, self.boxes[self.detection_index], 'The box')}"
        )
        figure = draw_box_groups(
            self.image,
            [
                ("pale", outputs.proposals[:MAX_PROPOSALS], False),
                ("source", proposal[None], True),
                ("box", self.boxes[self.detection_index, None], False),
            ],
        )
        n_shown = min(MAX_PROPOSALS, len(outputs.proposals))
        caption = f"{n_shown} proposals (grey), the box's own (green), {self.name} (orange)"
        return _step("proposals", "Proposals", [*sentences, _figure_row(("proposals", figure, caption))])

    def _candidates(self) -> Section:
        steps, fates = self.steps, self.steps.decision.fates
        scores, boxes = steps.outputs.candidates.scores, steps.outputs.candidates.boxes
        counts = Counter(fates.flatten().tolist())
        threshold = steps.detector.score_threshold
        sentence = (
            f"There are {scores.numel():,} pairs of box and class; {scores.numel() - counts[Fate.LOW_SCORE]:,} have a "
            f"score of at least {threshold:g}. Of these, {counts[Fate.DETECTED]:,} are detections."
        )
        rows = [(outcome, f"{counts[fate]:,}") for fate, outcome in FATES.items() if counts[fate]]
        fate_table = TablePart("Pairs of box and class by outcome", ["", "pairs"], rows)
        overlap = box_iou(boxes, self.boxes[self.detection_index, None])[:, 0]
        near_pairs = ((overlap >= MIN_IOU)[:, None] & (fates != Fate.LOW_SCORE)).nonzero()
        near_pairs = near_pairs[scores[near_pairs[:, 0], near_pairs[:, 1]].argsort(descending=True, stable=True)]
        candidate_rows = [
            (
                self._class_name(label),
                f"{float(scores[candidate, label]):.3f}",
                f"{float(overlap[candidate]):.2f}",
                self._fate_text(candidate, label),
            )
            for candidate, label in near_pairs[:MAX_ROWS].tolist()
        ]
        caption = (
            f"The best of the {len(near_pairs):,} pairs of candidate and class with a score of at least "
            f"{threshold:g} and an IoU of at least {MIN_IOU:g} with {self.name}"
        )
        columns = ["class", "score", "IoU", "outcome"]
        return _step(
            "candidates", "Candidates", [sentence, fate_table, TablePart(caption, columns, candidate_rows, (1, 2))]
        )

    def _suppression(self) -> Section:
        steps = self.steps
        removals = [
            removal for removal in steps.suppressed[self.class_index] if removal.suppressor == self.detection_index
        ]
        sentences = [
            "Non-maximum suppression keeps the box with the highest score and removes the others of its class whose "
            f"IoU with it is above {steps.detector.nms_threshold:g}; this is repeated among the boxes that are "
            "left.",
            f"{self.title} removed {plural(len(removals), 'candidate')}"
            + (f", the best with score {removals[0].score:.3f} and IoU {removals[0].iou:.2f}." if removals else "."),
        ]
        removed_boxes = steps.outputs.candidates.boxes[[removal.candidate for removal in removals]]
        figure = draw_box_groups(
            self.image, [("other", removed_boxes, True), ("box", self.boxes[self.detection_index, None], False)]
        )
        caption = f"{self.title} (orange) and the candidates that it removed (blue, dashed)"
        return _step("suppression", "Suppression", [*sentences, _figure_row(("suppression", figure, caption))])

    def _detections(self) -> Section:
        steps, detections = self.steps, self.steps.detections
        n_shown = max(int((detections.scores >= score_of(steps.model)).sum()), self.box)
        shown_detections = steps.decision.detections.take(torch.arange(n_shown))
        texts = [f"{k}" for k in range(1, n_shown + 1)]
        other_indices = [k for k in range(n_shown) if k != self.detection_index]
        box_groups = [
            ("other", shown_detections.boxes[other_indices], False),
            ("box", shown_detections.boxes[self.detection_index, None], False),
        ]
        plot = draw_box_groups(
            self.image, box_groups, [[texts[k] for k in other_indices], [texts[self.detection_index]]]
        )
        removal_counts = Counter(removal.suppressor for removals in steps.suppressed for removal in removals)
        rows = [
            (
                f"{k + 1}",
                self._class_name(label),
                f"{score:.3f}",
                f"{removal_counts[k]:,}",
                *(f"{value:.1f}" for value in box),
            )
            for k, (label, score, box) in enumerate(
                zip(detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True)
            )
        ]
        caption = "Detections, the candidates that each removed, and its box in pixels of the picture"
        table_part = TablePart(caption, ["box", "class", "score", "removed", *SIDES], rows[:n_shown], range(2, 8))
        sentence = f"{plural(len(detections), 'detection')}, numbered by their scores; the first {n_shown} are shown."
        figure = _figure_row(("detections", plot, f"The first {n_shown} detections"))
        return _step("detections", "Detections", [sentence, table_part, figure])

    def _attributions(self) -> Section:
        steps = self.steps
        output_name = (
            f"the logit of {steps.classes[self.label]}" if self.side is None else f"the coordinate {SIDES[self.side]}"
        )
        output = steps.output(self.box, self.explained_output)
        sentences = [
            f"The pixels that {output_name} of {self.name} depends on; it is {output:.3f}."
            if self.side is None
            else f"The pixels that {output_name} of {self.name} depends on, to first order. It is "
            f"{float(self.boxes[self.detection_index, self.side]):.1f} pixels, to which the network's outputs "
            f"contribute {output:+.1f}."
        ]
        if steps.outputs.proposals is not None:
            sentences.append(
                "The proposal is held constant: the maps show the pixels that the second stage reads in its region."
            )
        figures: list[tuple[str, Figure, str]] = []
        for method in self.methods:
            map_ = self.maps[method] = steps.explain(self.box, self.explained_output, method)
            expected_sum = self._expected_sum(output) if method == "lrp" else None
            caveat = self.caveats[method] = map_caveat(map_, expected_sum)
            sentences.append(self._map_sentence(method, map_, caveat, expected_sum))
            title = f"{method} ({caveat})" if caveat else method
            figure = attribution(self.image, map_, self.boxes[self.detection_index], title, method not in MAGNITUDES)
            figures.append((method, figure, f"{title} of {output_name}"))
        return _step("depends", "What the box depends on", [*sentences, _figure_row(*figures)])

    def _expected_sum(self, output: float) -> float:
        """Return what an LRP map should add up to: the explained coordinate, or the score of the class."""
        if self.side is not None:
            return output
        return float(self.steps.outputs.candidates.scores[self.candidate, self.label])

    def _map_sentence(self, method: str, map_: Tensor, caveat: str, expected_sum: float | None) -> str:
        """Return a sentence about a map: where it lies, unless it is no evidence for that, and what it adds up to.

        caveat: see `map_caveat`.
        """
        if caveat == ZERO:
            return f"{method}: {zero_verdict().text}."
        fraction_inside, area = _fraction_inside(map_, self.boxes[self.detection_index])
        location_text = (
            f"{fraction_inside:.0%} of the map's magnitude lies in the box, which covers {area:.0%} of the input"
        )
        if expected_sum is None:
            return f"{method}: {location_text}."
        name = "" if self.side is not None else "the score "
        sum_text = f"adds up to {float(map_.sum()):.3f} of {name}{expected_sum:.3f}; the rest is due to biases"
        if caveat == SUM_LOST:
            no_evidence = "so where it lies is no evidence for where the score comes from."
            return f"{method}: {caveat}: the map {sum_text}, {no_evidence}"
        return f"{method}: {location_text}; it {sum_text}."

    def _class_name(self, label: int) -> str:
        return self.steps.classes[label]

    def _cell(self) -> tuple[int, int, int]:
        return self.steps.outputs.cell(int(self.steps.outputs.candidates.anchors[self.candidate]))

    def _nearby_anchors(self, box: Tensor) -> Tensor:
        """Return the anchors of the cell in each map that contains the centre of a box."""
        outputs = self.steps.outputs
        assert outputs.anchors is not None
        centre, (height, width) = (box[:2] + box[2:]) / 2, outputs.anchors.image_size
        cell_anchors: list[Tensor] = []
        for map_, map_anchors in zip(outputs.maps, outputs.anchors.boxes.split(outputs.anchor_counts), strict=True):
            rows, columns = map_.shape[2:]
            row = min(max(int(float(centre[1]) / height * rows), 0), rows - 1)
            column = min(max(int(float(centre[0]) / width * columns), 0), columns - 1)
            cell_anchors.append(map_anchors.view(rows, columns, -1, 4)[row, column])
        return torch.cat(cell_anchors)

    def _fate_text(self, candidate: int, label: int) -> str:
        fate = Fate(int(self.steps.decision.fates[candidate, label]))
        if fate == Fate.DETECTED:
            return f"detected: box {self.steps.detection_of(candidate, label) + 1}"
        if fate == Fate.SUPPRESSED:
            return _removal_text(
                next(removal for removal in self.steps.suppressed[label] if removal.candidate == candidate)
            )
        return FATES[fate]


def sentences(step: Section) -> list[str]:
    """Return the parts of a step that are sentences."""
    return [part for part in step.parts if isinstance(part, str)]


def _step(key: str, heading: str, parts: Sequence[SectionPart]) -> Section:
    return Section(key, heading, parts, wide=True)


def _figure_row(*figures: tuple[str, Figure, str]) -> FigureRow:
    """Return a row of figures, each given as its name, the figure and its caption."""
    return FigureRow([FigurePart(name, figure, caption, caption) for name, figure, caption in figures])


def _removal_text(removal: SuppressedCandidate) -> str:
    if removal.suppressor < 0:
        return "removed by a box beyond the limit of detections"
    return f"removed by box {removal.suppressor + 1}, IoU {removal.iou:.2f}"


def _size_text(box: Tensor) -> str:
    x0, y0, x1, y1 = box.tolist()
    return f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels, centred on ({(x0 + x1) / 2:.0f}, {(y0 + y1) / 2:.0f})"


def _offset_sentence(source: Tensor, target: Tensor, name: str) -> str:
    """Return a sentence on the difference between a box and the anchor or proposal that it was predicted from."""
    source_size, target_size = source[2:] - source[:2], (target[2:] - target[:2])
    dx, dy = ((target[:2] + target[2:] - source[:2] - source[2:]) / 2).tolist()
    width_ratio, height_ratio = (target_size / source_size.clamp_min(1e-6)).tolist()
    iou = float(box_iou(source[None], target[None]))
    return (
        f"{name} is {_size_text(target)}: moved by {dx:+.1f} and {dy:+.1f} pixels, {width_ratio:.2f} times as wide and "
        f"{height_ratio:.2f} times as high, with an IoU of {iou:.2f}."
    )


def _fraction_inside(map_: Tensor, box: Tensor) -> tuple[float, float]:
    """Return the fraction of a map's magnitude inside a box, and the fraction of the map's pixels inside it."""
    x0, y0, x1, y1 = box.tolist()
    is_inside = torch.zeros_like(map_, dtype=torch.bool)
    is_inside[max(int(y0), 0) : int(-(-y1 // 1)), max(int(x0), 0) : int(-(-x1 // 1))] = True
    total_relevance = float(map_.abs().sum())
    return (float(map_[is_inside].abs().sum()) / total_relevance if total_relevance else 0.0), float(
        is_inside.float().mean()
    )
