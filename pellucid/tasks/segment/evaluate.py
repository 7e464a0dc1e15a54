"""How good a model's masks are on a folder of pictures with masks."""

from pathlib import Path
from typing import Any

from pellucid.data import CATALOGUE, MaskFolder, data_root
from pellucid.data.files import ANNOTATIONS
from pellucid.data.images import strict_warnings
from pellucid.data.tree import HELD_OUT, TRAIN, open_tree, root_of
from pellucid.errors import PellucidError
from pellucid.metrics import BoundaryF1, MeanIoU
from pellucid.model import Model
from pellucid.recipe.fitting import check_followed, data_name, is_root
from pellucid.tasks.segment.predict import Segmenter


def evaluate(model: Model, data: str | None = None, crf: bool = False) -> dict[str, Any]:
    """Measure a model on pictures of any size with masks; see `mask_folder` for which.

    Returns miou, pixel_accuracy, boundary_f1, n, the name of the data, and for each class its name and iou, None where
    it neither occurs nor was predicted. Pixels that the loss ignores do not count.
    """
    segmenter = Segmenter(model, crf)
    ignored = getattr(model.loss, "ignore", None)
    source = mask_folder(model, data, ignored)
    overlap, outlines = MeanIoU(ignored), BoundaryF1(ignored)
    with strict_warnings():
        for k in range(len(source)):
            image, mask = source.example(k)
            found = segmenter(image).probabilities
            for metric in (overlap, outlines):
                metric.update(found[None], mask[None])
    measured = {**overlap.compute(), **outlines.compute()}
    by_class = measured.pop("class_iou")
    rows = [{"class": name, "iou": value} for name, value in zip(segmenter.classes, by_class, strict=True)]
    return {**measured, "n": len(source), "data": source.tree.where("").rstrip("/:"), "classes": rows}


def mask_folder(model: Model, data: str | None, ignored: int | None) -> MaskFolder:
    """Return the pictures of NAME/ with the masks of NAMEannot/ in a folder or zip; None: in the model's own data.

    Of several such pairs it is test, else val, else the first but train. data may also be the folder that holds the
    data set that the model was trained on. Raises PellucidError where there is none.
    """
    own = data_name(model)
    if data is None or is_root(own, data):
        check_followed(own, model.source)
        path = data_root(data) / CATALOGUE[own].place if own in CATALOGUE else Path(own)
        if not own or not path.exists():
            raise PellucidError(f"the data of the model ({own or 'unknown'}) are not there; name a folder with --data")
    else:
        path = data_root() / CATALOGUE[data].place if data in CATALOGUE else Path(data)
    with open_tree(path) as tree:
        top = root_of(tree)
        folders = {name.removeprefix(top).split("/", 1)[0] for name in tree.names if "/" in name.removeprefix(top)}
    parts = [name for name in sorted(folders) if name + ANNOTATIONS in folders]
    if not parts:
        raise PellucidError(f"{path} has no folder NAME beside one NAME{ANNOTATIONS}, such as val and val{ANNOTATIONS}")
    part = next(iter([*(one for one in HELD_OUT if one in parts), *(one for one in parts if one != TRAIN), TRAIN]))
    return MaskFolder(path, part, classes=model.classes, ignored=ignored)
