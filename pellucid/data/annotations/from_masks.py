"""Masks of classes as annotated objects: each connected region of a class is one object."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_OBJECTS
from pellucid.data.annotations.base import Annotations, ImageRecord, Instance
from pellucid.data.images import pillow_warnings_as_errors
from pellucid.data.mask_checks import VOID, check_values, plain_values
from pellucid.data.mask_classes import N_VALUES
from pellucid.data.mask_settings import MaskSettings, reading_masks
from pellucid.data.masks import MaskFolder, mask_parts
from pellucid.ops.masks import compress, outline_polygons

BACKGROUNDS = ("background", "_background_")  # names of classes whose regions are no objects


def mask_annotations(path: str | os.PathLike[str], background: str | None = None) -> dict[str, Annotations]:
    """Return the regions of masks as objects by part; {} without masks.

    background: the class whose regions are no objects, by default one of BACKGROUNDS if there is one. All other classes
    have objects. Raises PellucidError for masks that a training refuses, and if no class has the name `background`.
    """
    with reading_masks(MaskSettings(targets="masks")), ExitStack() as trees, pillow_warnings_as_errors():
        sources = {part: MaskFolder(path, part) for part in mask_parts(path)}
        for source in sources.values():
            trees.enter_context(closing(source.tree))
            source.refuse_unreadable()
        if not sources:
            return {}
        first_source = next(iter(sources.values()))
        counts = torch.zeros(N_VALUES, dtype=torch.int64)
        for source in sources.values():
            counts += source.count_values(source.others)
        values = first_source.values or plain_values(counts, None)
        void = check_values(counts, values, first_source.classes, str(path), training=False)
        names = first_source.classes or tuple(map(str, range(len(values))))
        if background is not None and background not in names:
            raise PellucidError(f"{path} has no class {background!r:.60}; its classes are {', '.join(names):.200}")
        background_names = (background,) if background is not None else BACKGROUNDS
        classes = tuple(name for name in names if name not in background_names)
        labels = {value: classes.index(names[index]) for value, index in values.items() if names[index] in classes}
        return {
            part: Annotations(classes, tuple(_record(source, k, labels, void) for k in range(len(source))))
            for part, source in sources.items()
        }


def _record(source: MaskFolder, k: int, labels: dict[int, int], void: int | None) -> ImageRecord:
    """Return the objects of one image. labels: of the values of masks; void: the value of pixels without a class."""
    mask = source.read_pair(k)[1]
    size = (mask.shape[0], mask.shape[1])
    where = source.tree.where(source.others[k])
    instances: list[Instance] = []
    for value, label in labels.items():
        # Regions are found in columns, since COCO's run lengths are those of columns.
        for spans in regions((mask == value).T):
            if len(instances) == MAX_OBJECTS:
                raise PellucidError(f"{where} has more than {MAX_OBJECTS:,} regions; smooth it, or convert to masks")
            instances.append(_instance(spans, label, size))
    outlines = outline_polygons(mask == (VOID if void is None else void)) if void is not None else []
    return ImageRecord(source.names[k], size, tuple(instances), where, image_id=k + 1, void=tuple(map(tuple, outlines)))


def _instance(spans: np.ndarray, label: int, size: tuple[int, int]) -> Instance:
    """Return an object from spans (n, 3) of a column, its first row and the row after its last, in order."""
    columns, starts, ends = spans.T
    box = (float(columns[0]), float(starts.min()), float(columns[-1] + 1), float(ends.max()))
    borders = np.stack((columns * size[0] + starts, columns * size[0] + ends), axis=1).flatten()
    runs = np.diff(borders, prepend=0, append=size[0] * size[1]).tolist()
    # A region that continues at the top of the next column has runs of no pixels outside, which are joined.
    run_lengths = [runs[0]]
    for outside_length, inside_length in zip([0, *runs[2:-1:2]], runs[1:-1:2], strict=True):
        if len(run_lengths) > 1 and outside_length == 0:
            run_lengths[-1] += inside_length
        else:
            run_lengths += [inside_length] if len(run_lengths) == 1 else [outside_length, inside_length]
    run_lengths += [runs[-1]] if runs[-1] else []
    return Instance(box, label, compress(run_lengths), area=float((ends - starts).sum()))


def regions(mask: Tensor) -> Iterator[np.ndarray]:
    """Yield the connected regions of a mask (H, W) bool, in the order of their first pixels; corners connect, too.

    Each is an array (n, 3) of spans in order: a row, its first column, and the column after its last.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask.numpy()
    changes = np.diff(padded, axis=1)
    spans = np.column_stack((*np.nonzero(changes == 1), np.nonzero(changes == -1)[1]))
    rows, starts, ends = (column.tolist() for column in spans.T)
    parents = list(range(len(rows)))  # of the runs of pixels in rows

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first_candidate = 0  # the first run of the row above that may touch the current one
    for run, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True)):
        while first_candidate < run and (
            rows[first_candidate] < row - 1 or (rows[first_candidate] == row - 1 and ends[first_candidate] < start)
        ):
            first_candidate += 1
        candidate = first_candidate
        while candidate < run and rows[candidate] == row - 1 and starts[candidate] <= end:
            lower_root, higher_root = sorted((root(candidate), root(run)))
            parents[higher_root] = lower_root
            candidate += 1
    runs_by_root: dict[int, list[int]] = {}
    for run in range(len(rows)):
        runs_by_root.setdefault(root(run), []).append(run)
    for runs in runs_by_root.values():
        yield spans[runs]
