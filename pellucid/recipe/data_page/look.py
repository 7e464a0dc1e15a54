"""Make a page of data from arrays, sources and streams."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pellucid.data import Source
from pellucid.recipe.data_page.copies import copies
from pellucid.recipe.data_page.drawn import class_names, legend, pictures
from pellucid.recipe.data_page.page import DataPage
from pellucid.recipe.data_page.part import DataPart, read_part
from pellucid.task.split_differences import split_differences
from pellucid.task.traits import (
    Traits,
    ignored_class,
    input_traits,
    received_traits,
    size_traits,
    target_names,
    target_traits,
)
from pellucid.training.examples import source_of, training_and_validation
from pellucid.training.model import BaseModel
from pellucid.training.reading import Augmentation

TRAINING, VALIDATION, TEST = "training", "validation", "test"
MAX_PICTURES = 12  # of all parts, which bounds the size of the page


def data_page(
    x: Any,
    y: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    model: BaseModel | None = None,
    augment: Augmentation | None = None,
    name: str = "data",
    limit: int | None = None,
) -> DataPage:
    """Return a page of data as a network receives them: examples with targets, numbers of each part, and differences.

    x, y, validation, augment: as for `Model.fit`; test: as validation, but no fraction. model: its standardization,
    classes and task are used; without it, targets are shown by their kind. name: of the data. limit: number of examples
    that are read of each part, by default 2,000 of arrays and 200 of other sources and of streams, whose first epoch is
    read. Raises PellucidError for invalid data.
    """
    classes, seed = (None, 0) if model is None else (model.classes, model.seed)
    train, held_out = training_and_validation(x, y, validation, classes, seed)
    parts = {TRAINING: train, VALIDATION: held_out}
    if test is not None:
        inputs, targets = test if isinstance(test, tuple) else (test, None)
        parts[TEST] = source_of(inputs, targets, TEST, train.classes if classes is None else classes)
    return page_of_parts(parts, name, model, augment, limit)


def page_of_parts(
    sources: Mapping[str, Source | None],
    name: str,
    model: BaseModel | None = None,
    augment: Augmentation | None = None,
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> DataPage:
    """Return the page of data whose first part is that of training; parts that are None are left out.

    notes: sentences about the data. The other arguments are those of `data_page`.
    """
    stats, seed = (None, 0) if model is None else (model.stats, model.seed)
    existing_sources = {part: source for part, source in sources.items() if source is not None}
    parts = [
        read_part(
            part,
            source,
            stats,
            augment if part == TRAINING else None,
            seed,
            limit,
            MAX_PICTURES // len(existing_sources),
        )
        for part, source in existing_sources.items()
    ]
    classes = (None if model is None else model.classes) or next(iter(existing_sources.values())).classes
    ignored = ignored_class(model)
    traits, target_trait_names = _traits(parts, model, classes)
    counts = [(part.name, len(part.examples)) for part in parts]
    drawn_targets = [target for part in parts for target in part.shown.targets]
    named = None if model is None else target_names(model)
    names = tuple(classes or named or class_names(drawn_targets, ignored))
    part_ranges = [torch.stack([part.shown.images.min(), part.shown.images.max()]) for part in parts]
    low, high = (float(torch.stack(part_ranges).min()), float(torch.stack(part_ranges).max()))
    display = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    return DataPage(
        name=name,
        parts=parts,
        traits=traits,
        target_trait_names=target_trait_names,
        differences=split_differences(traits, counts, target_trait_names),
        copies=copies(parts, [*existing_sources.values()]),
        pictures={part.name: pictures(part.shown, *display, names, ignored) for part in parts},
        legend=legend(drawn_targets, names),
        display=display,
        is_standardized=stats is not None,
        is_augmented=augment is not None,
        notes=notes,
    )


def _traits(parts: Sequence[DataPart], model: BaseModel | None, classes: Any) -> tuple[Traits, list[str]]:
    """Return the traits of the examples of all parts, and the names of those of targets."""
    examples = [example for part in parts for example in part.examples]
    example_ranges = [(values.low, values.high) for part in parts for values in part.inputs]
    inputs_traits = received_traits(example_ranges, [example.images.shape[1:] for example in examples]) | input_traits(
        examples
    )
    if all(part.file_sizes for part in parts):
        inputs_traits |= size_traits([size for part in parts for size in part.file_sizes], "the image files")
    targets_traits = target_traits(model, examples, classes)
    return {**inputs_traits, **targets_traits}, [*targets_traits]
