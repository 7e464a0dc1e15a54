"""The contents of a run's report."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.combine.base import join, walk
from pellucid.data import Arrays, Loader, Source, float_images
from pellucid.data.keypoints import KeypointSource
from pellucid.data.seeds import generator
from pellucid.detectors import Detector
from pellucid.errors import PellucidError
from pellucid.generators import Generator
from pellucid.layers.base import Layer, Params, Shape
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dense import Dense
from pellucid.metrics import MeanIoU, class_scores, classes_of, confusion_matrix
from pellucid.metrics.objects import normalised_errors, unit_points
from pellucid.model import Model
from pellucid.network.summary import Summary, summary
from pellucid.objective import Supervised, params_of
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.run_report.generated import Generated, draw_samples
from pellucid.run_report.objects import Found, compare_objects
from pellucid.training.examples import first_batch
from pellucid.tree import flatten


@dataclass(frozen=True)
class Mistakes:
    """Misclassified images, the most confident first.

    images: (n, 1 or 3, H, W), values 0..1. true, predicted: names of classes. probability: of the predicted class.
    total: the number of misclassified images in the test data.
    """

    images: NDArray[np.float32]
    true: Sequence[str]
    predicted: Sequence[str]
    probability: Sequence[float]
    total: int


@dataclass(frozen=True)
class Masks:
    """The images with the lowest mean IoU, worst first.

    images: (n, H, W, 3), uint8. true, predicted: (n, H, W), class indices. scores: the mean IoU of each image. names:
    file names, if known.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    scores: Sequence[float]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Keypoints:
    """The images whose key-points have the largest normalized mean error, worst first.

    images: (n, H, W, 3), uint8. true: (n, K, 3), with visibility; found: (n, K, 3), with scores. errors: one per
    image.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.float32]
    found: NDArray[np.float32]
    errors: Sequence[float]


@dataclass(frozen=True)
class ReportData:
    """The contents of a run's report, which names the parts that are missing.

    recipe: its name. command: the command that repeats the run. about: the recipe's description. metrics: accuracy,
    loss and n of the test images; optionally seconds, images_per_second, epochs. history: rows with epoch, lr,
    train_loss, train_accuracy, val_loss, val_accuracy. held: the data behind val_loss and val_accuracy, "validation" or
    "test". layers: rows with epoch, path, grad_norm, update_ratio. confusion: (K, K) counts, true by predicted.
    first_weights: (filters, C, H, W), of the layer at first_path. recipe_text: the complete TOML. manifest: versions,
    seed, checksums and the hash of the weights, which may be nested.
    """

    recipe: str
    command: str
    about: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    held: str = "validation"
    layers: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] = ()
    confusion: NDArray[np.int64] | None = None
    mistakes: Mistakes | None = None
    masks: Masks | None = None
    keypoints: Keypoints | None = None
    objects: Found | None = None
    generated: Generated | None = None
    first_path: str = ""
    first_weights: NDArray[np.float32] | None = None
    summary: Summary | None = None
    recipe_text: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


BATCH = 256  # images at a time
MAX_MISTAKES = 24  # misclassified images in a report
MAX_MASKS = 6  # images
MAX_KEYPOINTS = 12  # images


def gather(
    run: str | os.PathLike[str],
    model: Model,
    test: Source,
    command: str = "",
    metrics: Mapping[str, Any] | None = None,
    held: str = "test",
    train: Source | None = None,
) -> ReportData:
    """Read the run folder's recipe.toml, manifest.json, metrics.csv and layers.csv, and evaluate the model on `test`.

    command: the command that reproduces the run (by default `pellucid train recipe.toml`). metrics: results on `test`,
    if already computed. held: the data behind the curves of held-out images, "test" or "validation". train: the
    training data, needed only for the samples of a generator.
    Raises PellucidError if a file is missing or damaged.
    """
    folder = RunFolder(run)
    text, tables = read_recipe(folder.path / "recipe.toml")
    about = tables.get("recipe", {})
    history = History.read(folder.path)
    first, classes = first_batch(test), tuple(test.classes or ())
    image = tuple(first.images.shape[1:])
    shape = tuple(model.nominal_shape or image)
    if metrics is None:
        in_memory = isinstance(test, Arrays)
        metrics = model.evaluate(test.x.reshape(len(test), *shape), test.y) if in_memory else model.evaluate(test)
    results: dict[str, Any] = {}
    if isinstance(test, KeypointSource):
        results["keypoints"] = compare_keypoints(model, test)
    elif isinstance(model.objective, Detector):
        results["objects"] = compare_objects(model, test)
    elif isinstance(model.objective, Supervised) and first.targets.dim() == 3:
        results["confusion"], results["masks"] = compare_masks(model, test)
    elif isinstance(model.objective, Supervised):
        scores, labels = predictions(model, test, shape)
        if scores.ndim == 2 and scores.shape[1] == len(classes) > 1:
            results["confusion"] = confusion_matrix(labels, classes_of(scores), len(classes)).numpy()
            results["mistakes"] = worst(scores, labels, test)
    if isinstance(model.objective, Generator) and train is not None:
        results["generated"] = draw_samples(model, train, folder)
    nets = model.objective.nets
    name, net = next(iter(nets.items()))
    path, weights = first_weights(net, params_of(model.params, name), image)
    return ReportData(
        recipe=str(about.get("name") or folder.path.name),
        command=command or "pellucid train recipe.toml",
        about=str(about.get("about", "")),
        metrics=dict(metrics),
        history=history.rows,
        held=held,
        layers=history.layers,
        classes=classes,
        first_path=join(name, path) if path else "",
        first_weights=None if weights is None else weights.numpy(),
        summary=summary(net, model.params, shape) if isinstance(model.objective, Supervised) else None,
        recipe_text=text,
        manifest=folder.read_manifest(),
        **results,
    )


def predictions(model: Model, test: Source, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return the score of each class (N, K) for the images, reshaped to `shape`, and their labels (N,)."""
    scores, labels = list[Tensor](), list[Tensor]()
    for batch in Loader(test, min(BATCH, len(test)), seed=0, shuffle=False).epoch(0):
        scores.append(class_scores(model.predict(batch.images.reshape(len(batch.images), *shape)).cpu()))
        labels.append(batch.targets)
    return torch.cat(scores), torch.cat(labels)


def compare_masks(model: Model, test: Source, most: int = MAX_MASKS) -> tuple[NDArray[np.int64], Masks]:
    """Return the confusion matrix of pixels, true (rows) by predicted, and the `most` images with the lowest IoU."""
    ignored = getattr(model.loss, "ignore", None)
    overall, masks, scores = MeanIoU(ignored), list[Tensor](), list[float]()
    for k in range(len(test)):
        x, y = test.batch([k], generator(0))
        outputs, of_image = model.predict(x), MeanIoU(ignored)
        overall.update(outputs, y)
        masks.append(outputs.argmax(1)[0].to(torch.uint8))
        of_image.update(outputs, y)
        labelled = of_image.matrix is not None and int(of_image.matrix.sum()) > 0
        scores.append(of_image.compute()["miou"] if labelled else 1.0)
    order = sorted(range(len(test)), key=lambda k: scores[k])[:most]
    shown, expected = test.batch(order, generator(0))
    images = (float_images(shown) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    # The file names of masks in memory are `files`, those of streamed masks `names`.
    files = getattr(test, "files", None) or getattr(test, "names", ())
    drawn = Masks(
        images.expand(-1, -1, -1, 3).numpy(),
        expected.numpy(),
        torch.stack([masks[k] for k in order]).numpy(),
        [scores[k] for k in order],
        [files[k] for k in order] if files else (),
    )
    assert overall.matrix is not None
    return overall.matrix.numpy(), drawn


def compare_keypoints(model: Model, test: KeypointSource, most: int = MAX_KEYPOINTS) -> Keypoints | None:
    """Return the `most` images with the largest normalized mean error; None if NME is not a metric of the model."""
    unit = unit_points(model.metrics)
    if unit is None:
        return None
    points, truth = list[Tensor](), list[Tensor]()
    for batch in Loader(test, min(BATCH, len(test)), seed=0, shuffle=False).epoch(0):
        points.append(model.predict(batch.images))
        truth.append(batch.targets)
    found, true = torch.cat(points), torch.cat(truth)
    errors = normalised_errors(found, true, unit)
    order = errors.argsort(descending=True)[:most]
    images = (float_images(test.batch(order.tolist(), generator(0)).images) * 255).round().to(torch.uint8)
    return Keypoints(
        images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy(),
        true[order].numpy(),
        found[order].numpy(),
        errors[order].tolist(),
    )


def worst(scores: Tensor, labels: Tensor, test: Source, most: int = MAX_MISTAKES) -> Mistakes | None:
    """Return the `most` misclassified images with the largest probabilities; None if the data are not images."""
    channels, height, width = first_batch(test).images.shape[1:]
    if channels not in (1, 3) or min(height, width) < 2:
        return None
    largest, predicted = scores.max(1)  # (N,)
    wrong, names = torch.nonzero(predicted != labels).flatten(), test.classes or ()
    chosen = wrong[torch.argsort(largest[wrong], descending=True, stable=True)[:most]]
    return Mistakes(
        float_images(test.batch(chosen.tolist(), generator(0)).images).numpy(),
        [names[int(k)] for k in labels[chosen]],
        [names[int(k)] for k in predicted[chosen]],
        largest[chosen].tolist(),
        len(wrong),
    )


def first_weights(net: Layer, params: Params, image: Shape) -> tuple[str, Tensor | None]:
    """Return the path and the weights of the first layer as images (filters, C, H, W), or ("", None).

    Weights of a dense layer on whole images are reshaped to the image; filters of a convolution are unchanged.
    """
    flat = flatten(params)
    for path, layer in walk(net):
        key = f"{path}.weight".lstrip(".")
        if isinstance(layer, Conv2d):
            return key, flat[key].detach().float().cpu()
        if isinstance(layer, Dense):
            weight = flat[key].detach().float().cpu()  # (units, n_in)
            channels, height, width = image
            fits = weight.shape[1] == channels * height * width
            return (key, weight.reshape(-1, channels, height, width)) if fits else ("", None)
    return "", None


def read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text and the tables of a recipe.toml; raises PellucidError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise PellucidError(f"{path} cannot be read ({error}); give a run folder that training wrote") from error
    return text, {name: table for name, table in tables.items() if isinstance(table, dict)}
