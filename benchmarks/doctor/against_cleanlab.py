"""Compare the doctor with cleanlab on mistakes in the targets: `python -m benchmarks.doctor.against_cleanlab`.

cleanlab (confident learning; Northcutt, Jiang and Chuang 2021) lists labels, images with boxes, or pixels that are
probably wrong, from the outputs of models that were not trained on them: for training data from cross-validation, for
validation data from the trained model. Writes docs/cleanlab.md. Needs `pip install cleanlab`, part of `.[bench]`.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import numpy as np
import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.data import Boxes, take
from benchmarks.doctor.fit import Fit
from benchmarks.doctor.listed import judgements
from benchmarks.doctor.lists import cases
from benchmarks.doctor.report import table
from pellucid import Model
from pellucid.base.files import write_atomically

MISTAKES = (  # those whose training or validation targets are wrong, of the tasks that cleanlab has
    "cls-class-order-differs", "cls-labels-unsorted",
    "det-xy-swapped", "det-size-as-corner", "det-centre-as-corner", "det-boxes-of-original-size",
    "det-validation-boxes-of-original-size", "det-labels-off-by-one", "det-missing-boxes", "det-padding-not-added",
    "seg-mask-interpolated", "seg-void-as-background", "seg-background-ignored", "seg-object-is-255",
    "seg-unsorted-pairs", "seg-mask-transposed",
)  # fmt: skip
FOLDS = 3
MIN_DIFFERENCE, MIN_DEVIATIONS = 0.05, 3.0  # of the listed shares of the mistaken and the sound data
HEADING = """# cleanlab on mistakes in the targets

The [mistakes of all tasks](causes.md) whose training or validation targets are wrong, of the tasks that cleanlab
{version} has: classes, boxes and masks. cleanlab lists examples (for masks: pixels) whose targets are probably wrong,
with its default settings, from outputs of models that were not trained on them: for the training data by {folds}-fold
cross-validation with the settings of the training, for the validation data by the trained model. The columns are the
shares that it lists of the mistaken data and of their sound twin. *Seen*: in the training or the validation data, the
share is larger by more than {difference:.0%} and {deviations:g} standard errors over examples. cleanlab does not say
what is wrong with the listed targets; the last column is what a reader judged of the doctor's first sentence for the
same training. The doctor was improved with these mistakes, so its share is not what to expect of others.
Written by `python -m benchmarks.doctor.against_cleanlab`.

Measured on {date}, seed 0. cleanlab sees {seen} of {count}; the doctor names {named}.

"""
HEADER = ("mistake", "training: mistaken", "sound", "validation: mistaken", "sound", "seen", "doctor")


class Listed(NamedTuple):
    """What cleanlab lists of training and validation data: for each example 0 or 1, or the share of its pixels."""

    training: Tensor
    validation: Tensor


def listed_labels(outputs: Tensor, part: Any) -> Tensor:
    """Return for each example whether its class is listed; outputs: probabilities (N, classes)."""
    from cleanlab.filter import find_label_issues

    return torch.from_numpy(find_label_issues(part.y.numpy(), outputs.double().numpy(), n_jobs=1)).double()


def listed_boxes(outputs: list[Any], part: Boxes) -> Tensor:
    """Return for each image whether its boxes are listed; outputs: detections."""
    from cleanlab.object_detection.filter import find_label_issues

    labels = [{"bboxes": one.boxes.numpy(), "labels": one.labels.numpy()} for one in part.objects]
    predictions = [boxes_by_class(detections, len(part.classes)) for detections in outputs]
    return torch.from_numpy(find_label_issues(labels, predictions)).double()


def boxes_by_class(detections: Any, n_classes: int) -> Any:
    """Return the detections of an image in cleanlab's format: for each class, boxes with their scores (n, 5)."""
    result = np.empty(n_classes, dtype=object)
    rows = torch.cat([detections.boxes, detections.scores[:, None]], 1).double()
    for label in range(n_classes):
        result[label] = rows[detections.labels == label].numpy()
    return result


def listed_pixels(outputs: Tensor, part: Any) -> Tensor:
    """Return the share of each image's pixels that are listed; ignored pixels are not; outputs: (N, classes, H, W)."""
    from cleanlab.segmentation.filter import find_label_issues

    labels = torch.where(part.y < outputs.shape[1], part.y, outputs.argmax(1))
    issues = find_label_issues(labels.numpy(), outputs.double().numpy(), n_jobs=1, verbose=False)
    return torch.from_numpy(issues).double().mean((1, 2))


LISTED: Mapping[str, Callable[[Any, Any], Tensor]] = {"cls": listed_labels, "det": listed_boxes, "seg": listed_pixels}


def outputs_for(model: Model, part: Any) -> list[Any]:
    """Return the model's output for each example."""
    return list(model.predict(part.images if isinstance(part, Boxes) else part.x))


def cross_validated_outputs(fit: Fit) -> list[Any]:
    """Return an output for each training example, of a model that was trained without the example's part."""
    order, outputs = torch.randperm(len(fit.train), generator=torch.Generator().manual_seed(0)), {}
    parts = order.tensor_split(FOLDS)
    for held_out in parts:
        rest = torch.cat([part for part in parts if part is not held_out])
        model = fit.but(train=selected(fit.train, rest)).run().model
        outputs |= zip(held_out.tolist(), outputs_for(model, selected(fit.train, held_out)), strict=True)
    return [outputs[k] for k in range(len(order))]


def selected(part: Any, index: Tensor) -> Any:
    """Return some examples."""
    return part.subset(index) if hasattr(part, "subset") else take(part, index)


def listed_of(id: str, fit: Fit) -> Listed:
    """Return what cleanlab lists of the data of a training."""
    find = LISTED[id[:3]]

    def listed(outputs: list[Any], part: Any) -> Tensor:
        return find(torch.stack(outputs) if isinstance(outputs[0], Tensor) else outputs, part)

    validation_outputs = outputs_for(fit.run().model, fit.validation)
    return Listed(
        listed(cross_validated_outputs(fit), fit.train), listed(validation_outputs, fit.validation)
    )  # fmt: skip


def is_seen(mistaken: Tensor, sound: Tensor) -> bool:
    """Return whether clearly more of the mistaken data are listed than of the sound data, of the same images."""
    difference = mistaken - sound
    standard_error = float(difference.std()) / sqrt(len(difference))
    return float(difference.mean()) > max(MIN_DIFFERENCE, MIN_DEVIATIONS * standard_error)


def measured(id: str, sound_lists: dict[str, Listed]) -> dict[str, Any]:
    """Return the shares that cleanlab lists of a mistake's data and of the sound data; sound_lists: known ones."""
    pair = (cases("first") | cases("unopened"))[id](0)
    mistaken, key = listed_of(id, pair.mistaken), f"{pair.sound.train.checksum}{pair.sound.validation.checksum}"
    sound = sound_lists[key] = sound_lists.get(key) or listed_of(id, pair.sound)
    both = [*zip(mistaken, sound, strict=True)]
    shares = [float(part.mean()) for parts in both for part in parts]
    return {"shares": shares, "seen": any(is_seen(*parts) for parts in both)}


def page(results: Mapping[str, Any]) -> str:
    """Return the page of the results, as they are in docs/cleanlab.json."""
    records = results["mistakes"]
    judged = judgements("first")
    ids = [id for id in MISTAKES if id in records]
    heading = HEADING.format(
        version=results["cleanlab"], folds=FOLDS, difference=MIN_DIFFERENCE, deviations=MIN_DEVIATIONS,
        date=results["measured"], seen=sum(records[id]["seen"] for id in ids), count=len(ids),
        named=sum(judged[id] == "named" for id in ids),
    )  # fmt: skip
    rows = []
    for id in ids:
        shares = [f"{share:.1%}" for share in records[id]["shares"]]
        rows.append((id, *shares, "yes" if records[id]["seen"] else "no", judged[id]))
    return heading + table(HEADER, ("---", *("---:",) * 4, "---", "---"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doctor.against_cleanlab", description=__doc__)
    parser.add_argument("--only", nargs="*", default=MISTAKES, choices=MISTAKES, metavar="ID", help="all unless given")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of the page (docs)")
    args = parser.parse_args()
    path, sound_lists = args.docs / "cleanlab.json", dict[str, Listed]()
    for id in args.only:
        record = measured(id, sound_lists)
        records = json.loads(path.read_text("utf-8"))["mistakes"] if path.exists() else {}
        date = time.strftime("%Y-%m-%d")
        results = {"cleanlab": version("cleanlab"), "measured": date, "mistakes": {**records, id: record}}
        write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())
        write_atomically(args.docs / "cleanlab.md", page(results).encode())
        print(id, record, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
