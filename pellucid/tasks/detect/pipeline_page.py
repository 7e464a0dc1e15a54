"""The page of one box: how a detector reaches it, step by step, and what it depends on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.detectors import FATES, FastRCNN, Fate
from pellucid.explain.methods import MAGNITUDES
from pellucid.ops.boxes import box_iou
from pellucid.report.figures.pipeline import Cell, attribution, boxes_on, score_maps
from pellucid.report.page import render
from pellucid.tasks.detect.pipeline import METHODS, SIDES, Pipeline, Removed
from pellucid.tasks.detect.results import SCORE
from pellucid.text import plural

LISTED = 12  # rows of a table
NEAR = 0.3  # IoU of the candidates that are listed with a box
DRAWN = 40  # proposals in a figure


@dataclass(frozen=True)
class Table:
    """A table of a step; right: the columns of numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int]


@dataclass
class Step:
    """A section of the page. figures: name and caption of each."""

    id: str
    heading: str
    sentences: list[str]
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)


class BoxPage:
    """Collects the steps and the figures of one detection of a picture; box: its number."""

    def __init__(self, it: Pipeline, box: int, of: str | None = None, methods: Sequence[str] = METHODS) -> None:
        self.it, self.box, self.of, self.methods = it, box, of, methods
        self.at = it.place(box)
        self.label, self.side = it.aimed(box, of)
        self.own = int(it.decision.detections.labels[self.at])
        self.candidate = int(it.decision.chosen[self.at])
        self.boxes = it.decision.detections.boxes
        self.image = it.image.float() / 255
        self.figures: dict[str, Figure | None] = {}
        self.maps: dict[str, Tensor] = {}
        steps = [self._input(), self._scores(), self._anchor(), self._proposals(), self._candidates()]
        steps += [self._suppression(), self._detections(), self._depends()]
        self.steps = [step for step in steps if step is not None]

    @property
    def name(self) -> str:
        """The box by number and class, as in "box 3 (RBC)"."""
        return f"box {self.box} ({self.it.classes[self.own]})"

    @property
    def title(self) -> str:
        """The name at the beginning of a sentence."""
        return f"B{self.name[1:]}"

    def html(self, title: str, command: str = "") -> str:
        """Return the HTML document."""
        return render("pipeline", title=title, steps=self.steps, figures=self.figures, command=command)

    def to_json(self) -> dict[str, Any]:
        """Return the sentences by step, and the numbers of the box."""
        found = self.it.detections
        return {
            "box": self.box,
            "class": self.it.classes[self.own],
            "score": float(found.scores[self.at]),
            "place": found.boxes[self.at].tolist(),
            "steps": {step.id: step.sentences for step in self.steps},
        }

    def _input(self) -> Step:
        (height, width), (h, w) = self.it.size, self.it.input_size
        said = f"The picture has {width} x {height} pixels"
        said += f" and is resized to {w} x {h}." if (h, w) != (height, width) else "."
        return Step("input", "Input", [f"{said} Boxes are in pixels of this input, but for the table of detections."])

    def _scores(self) -> Step | None:
        walk, it = self.it.walk, self.it
        if not walk.maps:
            return None
        sizes = [f"{one.shape[2]} x {one.shape[3]}" for one in walk.maps]
        two = walk.proposals is not None
        what = (
            "one score each, whether there is an object"
            if two
            else f"a score for each of {plural(walk.scores.shape[1], 'class', 'classes')}"
        )
        first = "The first stage" if two else "The network"
        level, row, column = self._cell()
        maps = walk.score_maps(self.own)
        flat = torch.cat([one.flatten() for one in maps])
        score = float(maps[level][row, column])
        rank = int((flat > score).sum()) + 1
        of = "" if two else f" for {it.classes[self.own]}"
        said = [
            f"{first} outputs {plural(len(sizes), 'map')} of {', '.join(sizes)} cells (rows x columns), with "
            f"{sum(walk.anchor_counts):,} anchors in all, and {what}.",
            f"{f'The proposal of {self.name}' if two else self.title} comes from row {row} and column {column} "
            f"(counted from 0) of map {level + 1}. The highest score{of} in this cell is {score:.3f}, rank {rank:,} of "
            f"{len(flat):,} cells.",
        ]
        names = [f"map {k}, {size}" for k, size in enumerate(sizes, 1)]
        caption = f"Highest score of each cell{of}; white: the cell of {self.name}"
        self.figures["scores"] = score_maps(self.image, maps, names, Cell(level, row, column), self.boxes[self.at])
        return Step("scores", "Score maps", said, figures=[("scores", caption)])

    def _anchor(self) -> Step | None:
        walk = self.it.walk
        if walk.anchors is None:
            return None
        anchor = walk.anchors.boxes[int(walk.candidates.anchors[self.candidate])]
        target = self.boxes[self.at] if walk.proposals is None else walk.proposals[self.candidate]
        to = "box" if walk.proposals is None else "proposal"
        said = f"The anchor of {self.name} is {_sized(anchor)}. {_moved(anchor, target, f'The {to}')}"
        self.figures["anchor"] = boxes_on(
            self.image,
            [("pale", self._around(target), True), ("source", anchor[None], True), ("box", target[None], False)],
        )
        caption = f"Anchor (green, dashed) and {to} (orange); grey: the other anchors at the centre of the {to}"
        return Step("anchor", "Anchors", [said], figures=[("anchor", caption)])

    def _proposals(self) -> Step | None:
        walk, it = self.it.walk, self.it
        if walk.proposals is None or walk.outputs is None:
            return None
        proposal = walk.proposals[self.candidate]
        scores = walk.candidates.scores[self.candidate]
        classes = [f"{name} {float(score):.3f}" for name, score in zip(it.classes, scores, strict=True)]
        if isinstance(it.detector, FastRCNN):
            said = [
                f"{len(walk.proposals):,} proposals are found without learning, by {it.detector.by.replace('_', ' ')}."
            ]
        else:
            said = [
                f"Suppression among the boxes of the first stage keeps {len(walk.proposals):,} proposals. That of "
                f"{self.name} is number {self.candidate + 1} by its score, "
                f"{float(walk.scores[int(walk.candidates.anchors[self.candidate]), 0]):.3f}."
            ]
        said.append(
            f"From the proposal the head outputs the probabilities {', '.join(classes)} and background "
            f"{float(1 - scores.sum()):.3f}. {_moved(proposal, self.boxes[self.at], 'The box')}"
        )
        self.figures["proposals"] = boxes_on(
            self.image,
            [
                ("pale", walk.proposals[:DRAWN], False),
                ("source", proposal[None], True),
                ("box", self.boxes[self.at, None], False),
            ],
        )
        caption = f"{min(DRAWN, len(walk.proposals))} proposals (grey), that of {self.name} (green), the box (orange)"
        return Step("proposals", "Proposals", said, figures=[("proposals", caption)])

    def _candidates(self) -> Step:
        it, fates = self.it, self.it.decision.fates
        scores, boxes = it.walk.candidates.scores, it.walk.candidates.boxes
        counts = Counter(fates.flatten().tolist())
        threshold = it.detector.score_threshold
        said = (
            f"There are {scores.numel():,} pairs of box and class; {scores.numel() - counts[Fate.LOW_SCORE]:,} have a "
            f"score of at least {threshold:g}. Of these, {counts[Fate.DETECTED]:,} are detections."
        )
        rows = [(words, f"{counts[fate]:,}") for fate, words in FATES.items() if counts[fate]]
        by_fate = Table("Pairs of box and class by what became of them", ["", "pairs"], rows, (1,))
        overlap = box_iou(boxes, self.boxes[self.at, None])[:, 0]
        near = ((overlap >= NEAR)[:, None] & (fates != Fate.LOW_SCORE)).nonzero()
        near = near[scores[near[:, 0], near[:, 1]].argsort(descending=True, stable=True)]
        listed = [
            (
                self._class(label),
                f"{float(scores[one, label]):.3f}",
                f"{float(overlap[one]):.2f}",
                self._fate(one, label),
            )
            for one, label in near[:LISTED].tolist()
        ]
        about = f"The best of the {len(near):,} candidates with an IoU of at least {NEAR:g} with {self.name}"
        head = ["class", "score", "IoU", "what became of it"]
        return Step("candidates", "Candidates", [said], [by_fate, Table(about, head, listed, (1, 2))])

    def _suppression(self) -> Step:
        it = self.it
        mine = [one for one in it.removed[self.own] if one.by == self.at]
        said = [
            "Non-maximum suppression keeps the box with the highest score and removes the others of its class whose "
            f"IoU with it is above {it.detector.nms_threshold:g}; then the same among those that are left.",
            f"{self.title} removed {plural(len(mine), 'candidate')}"
            + (f", the best with score {mine[0].score:.3f} and IoU {mine[0].iou:.2f}." if mine else "."),
        ]
        gone = it.walk.candidates.boxes[[one.candidate for one in mine]]
        self.figures["suppression"] = boxes_on(
            self.image, [("other", gone, True), ("box", self.boxes[self.at, None], False)]
        )
        caption = f"{self.title} (orange) and what it removed (blue, dashed)"
        return Step("suppression", "Suppression", said, [], [("suppression", caption)])

    def _detections(self) -> Step:
        it, own = self.it, self.it.detections
        count = max(int((own.scores >= SCORE).sum()), self.box)
        shown = it.decision.detections.take(torch.arange(count))
        texts = [f"{k}" for k in range(1, count + 1)]
        others = [k for k in range(count) if k != self.at]
        groups = [("other", shown.boxes[others], False), ("box", shown.boxes[self.at, None], False)]
        self.figures["detections"] = boxes_on(self.image, groups, [[texts[k] for k in others], [texts[self.at]]])
        removed = Counter(one.by for some in it.removed for one in some)
        rows = [
            (f"{k + 1}", self._class(label), f"{score:.3f}", f"{removed[k]:,}", *(f"{value:.1f}" for value in box))
            for k, (label, score, box) in enumerate(
                zip(own.labels.tolist(), own.scores.tolist(), own.boxes.tolist(), strict=True)
            )
        ]
        caption = "Detections, the candidates that each removed, and its box in pixels of the picture"
        table = Table(caption, ["box", "class", "score", "removed", *SIDES], rows[:count], range(2, 8))
        said = f"{plural(len(own), 'detection')}, numbered by their scores; the first {count} are shown."
        return Step("detections", "Detections", [said], [table], [("detections", f"The first {count} detections")])

    def _depends(self) -> Step:
        it = self.it
        what = f"the logit of {it.classes[self.label]}" if self.side is None else f"the coordinate {SIDES[self.side]}"
        output = it.output(self.box, self.of)
        first = (
            f"What {what} of {self.name} depends on; it is {output:.3f}."
            if self.side is None
            else f"What {what} of {self.name} depends on, to first order. It is "
            f"{float(self.boxes[self.at, self.side]):.1f} pixels, of which the network's outputs make {output:+.1f}."
        )
        said = [first]
        if it.walk.proposals is not None:
            said.append("The proposal is held constant: the maps show how the second stage reads its region.")
        step = Step("depends", "What the box depends on", said)
        for method in self.methods:
            map_ = self.maps[method] = it.explain(self.box, self.of, method)
            inside, area = _share(map_, self.boxes[self.at])
            text = f"{method}: {inside:.0%} of its magnitude lies in the box, which covers {area:.0%} of the input"
            if method == "lrp":
                whole = (
                    output if self.side is not None else float(it.walk.candidates.scores[self.candidate, self.label])
                )
                of = "" if self.side is not None else "the score "
                text += f"; it adds up to {float(map_.sum()):.3f} of {of}{whole:.3f}, the rest is the part of biases"
            step.sentences.append(f"{text}.")
            self.figures[method] = attribution(self.image, map_, self.boxes[self.at], method, method not in MAGNITUDES)
            step.figures.append((method, f"{method} of {what}"))
        return step

    def _class(self, label: int) -> str:
        return self.it.classes[label]

    def _cell(self) -> tuple[int, int, int]:
        return self.it.walk.cell(int(self.it.walk.candidates.anchors[self.candidate]))

    def _around(self, box: Tensor) -> Tensor:
        """Return the anchors of all maps whose cells hold the centre of a box."""
        walk = self.it.walk
        assert walk.anchors is not None
        centre, (height, width) = (box[:2] + box[2:]) / 2, walk.anchors.image
        chosen: list[Tensor] = []
        for one, part in zip(walk.maps, walk.anchors.boxes.split(walk.anchor_counts), strict=True):
            rows, columns = one.shape[2:]
            row = min(max(int(float(centre[1]) / height * rows), 0), rows - 1)
            column = min(max(int(float(centre[0]) / width * columns), 0), columns - 1)
            chosen.append(part.view(rows, columns, -1, 4)[row, column])
        return torch.cat(chosen)

    def _fate(self, candidate: int, label: int) -> str:
        fate = Fate(int(self.it.decision.fates[candidate, label]))
        if fate == Fate.DETECTED:
            return f"detected: box {self.it.found(candidate, label) + 1}"
        if fate == Fate.SUPPRESSED:
            one = next(each for each in self.it.removed[label] if each.candidate == candidate)
            return _removed(one)
        return FATES[fate]


def _removed(one: Removed) -> str:
    if one.by < 0:
        return "removed by a box beyond the limit of detections"
    return f"removed by box {one.by + 1}, IoU {one.iou:.2f}"


def _sized(box: Tensor) -> str:
    x0, y0, x1, y1 = box.tolist()
    return f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels, centred on ({(x0 + x1) / 2:.0f}, {(y0 + y1) / 2:.0f})"


def _moved(source: Tensor, target: Tensor, name: str) -> str:
    """Return a sentence on how a box differs from the one that it was predicted from."""
    size, new = source[2:] - source[:2], (target[2:] - target[:2])
    dx, dy = ((target[:2] + target[2:] - source[:2] - source[2:]) / 2).tolist()
    across, down = (new / size.clamp_min(1e-6)).tolist()
    iou = float(box_iou(source[None], target[None]))
    return (
        f"{name} is {_sized(target)}: moved by {dx:+.1f} and {dy:+.1f} pixels, {across:.2f} times as wide and "
        f"{down:.2f} times as high, with an IoU of {iou:.2f}."
    )


def _share(map_: Tensor, box: Tensor) -> tuple[float, float]:
    """Return the share of a map's magnitude inside a box, and the share of its pixels."""
    x0, y0, x1, y1 = box.tolist()
    inside = torch.zeros_like(map_, dtype=torch.bool)
    inside[max(int(y0), 0) : int(-(-y1 // 1)), max(int(x0), 0) : int(-(-x1 // 1))] = True
    total = float(map_.abs().sum())
    return (float(map_[inside].abs().sum()) / total if total else 0.0), float(inside.float().mean())
