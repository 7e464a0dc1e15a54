"""The contents of a run's report, read from the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.base.toml_reader import read_toml
from pellucid.combine.base import join, walk
from pellucid.combine.nets import parameter_counts, params_of
from pellucid.data import Arrays
from pellucid.data.images import load_image
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dense import Dense
from pellucid.nested import flatten
from pellucid.network.summary import summary
from pellucid.objective import Supervised
from pellucid.report.embedded import embedded
from pellucid.report.sections import ImageRow, Section
from pellucid.run.folder import RunFolder, read_preview
from pellucid.run.history import History
from pellucid.task import Merit, task_of
from pellucid.training.examples import first_batch

if TYPE_CHECKING:
    from pellucid.data import Source
    from pellucid.layers.base import Layer, Params, Shape
    from pellucid.model import Model
    from pellucid.network.summary import Summary

PREVIEW_WIDTH = 560  # pixels; the width of held-out images on the page


@dataclass(frozen=True)
class ReportData:
    """The contents of a run's report; the page states which of them are missing.

    recipe: the name of the recipe. command: the command that repeats the run. about: the recipe's description. metrics:
    accuracy, loss and n of the test images; optionally seconds, images_per_second, epochs. history: rows with epoch,
    lr, train_loss, train_accuracy, val_loss, val_accuracy. val_data: the data of val_loss and val_accuracy,
    "validation" or "test". layers: rows with epoch, path, grad_norm, update_ratio. sections, files: see
    `pellucid.task.Reported`. first_path, first_weights: the path and the weights, (filters, C, H, W), of the first
    layer. summary: the layers of the network. recipe_text: the complete TOML. manifest: versions, seed, checksums and
    the hash of the weights, by name; values may be nested. merits: the main metrics of the task. networks: the number
    of parameters of each network, by name, if there is more than one. data: the sections about the data.
    """

    recipe: str
    command: str
    about: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    val_data: str = "validation"
    layers: Sequence[Mapping[str, Any]] = ()
    sections: Sequence[Section] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    first_path: str = ""
    first_weights: NDArray[np.float32] | None = None
    summary: Summary | None = None
    recipe_text: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    merits: Sequence[Merit] = (Merit("accuracy", "accuracy"),)
    networks: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[Section] = ()


def read_report_data(
    run: str | os.PathLike[str],
    model: Model,
    test: Source,
    command: str = "",
    metrics: Mapping[str, Any] | None = None,
    val_data: str = "test",
    train: Source | None = None,
) -> ReportData:
    """Read the run folder's recipe.toml, manifest.json, metrics.csv and layers.csv, and evaluate the model on `test`.

    command: the command that reproduces the run (by default `pellucid train recipe.toml`). metrics: results on `test`,
    if already computed. val_data: the data of the second curve in the figures, "test" or "validation". train: the
    training data, needed only for some tasks, such as the samples of a generator.
    Raises PellucidError if a file is missing or damaged.
    """
    folder = RunFolder(run)
    recipe_text, recipe_tables = read_recipe(folder.path / "recipe.toml")
    recipe_table = recipe_tables.get("recipe", {})
    history = History.read(folder.path)
    image_shape = tuple(first_batch(test).images.shape[1:])
    shape = tuple(model.nominal_shape or image_shape)
    if metrics is None:
        is_in_memory = isinstance(test, Arrays)
        metrics = model.evaluate(test.x.reshape(len(test), *shape), test.y) if is_in_memory else model.evaluate(test)
    task_report = task_of(model).report(model, train, test, folder)
    nets = model.objective.nets
    name, net = next(iter(nets.items()))
    path, weights = first_weights(net, params_of(model.params, name), image_shape)
    return ReportData(
        recipe=str(recipe_table.get("name") or folder.path.name),
        command=command or "pellucid train recipe.toml",
        about=str(recipe_table.get("about", "")),
        metrics=dict(metrics),
        history=history.rows,
        val_data=val_data,
        layers=history.layers,
        first_path=join(name, path) if path else "",
        first_weights=None if weights is None else weights.numpy(),
        summary=summary(net, model.params, shape) if isinstance(model.objective, Supervised) else None,
        recipe_text=recipe_text,
        manifest=folder.read_manifest(),
        sections=[*task_report.sections, *_preview_sections(folder)],
        files=task_report.files,
        merits=task_of(model).merits,
        networks={
            name: str(parameter_counts({"": net}, params_of(model.params, name))) for name, net in nets.items() if name
        },
    )


def _preview_sections(folder: RunFolder) -> list[Section]:
    """Return the section with the preview images of the first, a middle and the last epoch; [] without previews."""
    files = [*folder.previews().items()]
    shown_files = dict(files[index] for index in sorted({0, len(files) // 2, len(files) - 1})) if files else {}
    if not shown_files:
        return []
    images = {
        epoch: embedded(load_image(read_preview(file), str(file)), PREVIEW_WIDTH) for epoch, file in shown_files.items()
    }
    row = ImageRow(
        "Predictions for the same held-out images", [(f"epoch {epoch}", image) for epoch, image in images.items()]
    )
    return [Section("previews", "While it learned", [row], wide=True)]


def first_weights(net: Layer, params: Params, image_shape: Shape) -> tuple[str, Tensor | None]:
    """Return the path and the weights of the first layer as images (filters, C, H, W), or ("", None).

    The first layer is the first convolution or dense layer. The weights of a dense layer are reshaped to images; if its
    input size is not that of an image, the result is ("", None).
    """
    flat_params = flatten(params)
    for path, layer in walk(net):
        key = f"{path}.weight".lstrip(".")
        if isinstance(layer, Conv2d):
            return key, flat_params[key].detach().float().cpu()
        if isinstance(layer, Dense):
            weight = flat_params[key].detach().float().cpu()  # (units, n_in)
            channels, height, width = image_shape
            is_image_sized = weight.shape[1] == channels * height * width
            return (key, weight.reshape(-1, channels, height, width)) if is_image_sized else ("", None)
    return "", None


def read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text and the tables of a recipe.toml; raises PellucidError if it cannot be read."""
    text, tables = read_toml(path, "give a run folder that training wrote", follow_links=False)
    return text, {name: table for name, table in tables.items() if isinstance(table, dict)}
