"""Ship a trained model and write its card: `python -m benchmarks.pretrained RUN_FOLDER|NAME ...`.

A run folder's recipe names the model. The NAME of a shipped model evaluates it once more: its familiarity (see
pellucid.calibration.familiarity) is fitted, and its card written, with the recipe and training line of the old card.
The card's figures are those that `pellucid evaluate NAME --json` prints for the shipped file.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks import photos
from benchmarks.baselines import evaluate_nearest_objects, mean_shape_error, nearest_points_error
from benchmarks.int8 import has_int8, write_accuracy
from benchmarks.licences import licence_row, with_licence
from benchmarks.made_for import COLOURS_MADE_FOR, MADE_FOR
from benchmarks.results import run_pellucid
from pellucid import __version__, shipped_files
from pellucid.base.text import aligned, plural
from pellucid.calibration.familiarity import (
    evenly_spaced_indices,
    fit_familiarity,
    named_tensors,
    with_lower_resolutions,
)
from pellucid.detectors.base import Detector
from pellucid.generators import Pix2Pix, Regression
from pellucid.losses import L1
from pellucid.model import Model
from pellucid.nested import leaves
from pellucid.network.summary import summary
from pellucid.objective import Supervised
from pellucid.recipe.job import load_data
from pellucid.recipe.material import load_splits
from pellucid.recipe.model_data import table_for
from pellucid.recipe.recipe import read_recipe
from pellucid.run.folder import weights_file
from pellucid.run.weights import write_weights
from pellucid.tasks.classify.confidence import fit_confidence
from pellucid.tasks.colorize.colorizer import Colorizer, is_colorizer
from pellucid.tasks.colorize.measure import evaluate as evaluate_colours
from pellucid.tasks.detect.finder import is_detector
from pellucid.tasks.detect.measure import evaluate as evaluate_objects
from pellucid.tasks.detect.thresholds import MIN_SCORE
from pellucid.tasks.keypoints.finder import is_keypoint_model
from pellucid.tasks.keypoints.measure import evaluate as evaluate_keypoints
from pellucid.tasks.pictures import held_out
from pellucid.tasks.segment.segmenter import evaluate as evaluate_masks
from pellucid.tasks.segment.segmenter import is_segmenter
from pellucid.training.engines import check_int8_processor

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 6_000_000
MAX_COLORIZER_BYTES = 5_000_000
MAX_FLOAT32_WEIGHTS = 1_250_000  # models with more weights are shipped in float16

CARD = """# {name}

{about}

Written by `python -m benchmarks.pretrained`, which evaluated the shipped file; nothing is typed by hand.

| | |
|---|---|
{results}
{counts}
| file | {size:,} bytes{half}, weights SHA-256 {sha} |
| trained by | {training} |
{unlike}| measured with | Pellucid {version}, PyTorch {torch} |
{licence}

{made_for}

{classes}

## Network

```
{summary}
```

## Recipe

```toml
{recipe}
```
"""

SHIPPED_AS = {
    "signs-best": "signs", "cifar-vit": "vit-tiny", "camvid-fcn8": "camvid", "faces-heatmap": "faces",
    "bccd-single": "bccd", "pennfudan-mask": "pennfudan", "cifar-colorize": "colorize", "faces-colorize": "colorize",
    "camvid-colorize": "colorize",
}  # fmt: skip
PHOTOS = "cifar10"  # its test images evaluate colorizers that were trained on more than one data set


def ship(run: Path) -> None:
    """Ship the best weights of a run."""
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(recipe)
    recipe_name: str = tables["recipe"]["name"]
    model = Model.load(weights_file(str(run)))
    name = SHIPPED_AS.get(recipe_name, recipe_name)
    if name == "signs":
        validation = held_out(model, None)
        model.confidence = fit_confidence(model.predict(validation), validation.y)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    command = f"`pellucid train {recipe_name} recipe.seed={tables['recipe']['seed']}`"
    folder = tables["data"]["name"]
    if recipe_name not in shipped_files.recipe_names():
        command = "`python -m benchmarks.photos photos` and the recipe below"
        recipe = recipe.replace(folder, "photos")
        model.preprocess["data"] = PHOTOS
    threads = plural(manifest["threads"], "thread")
    training = f"{command}, {results['seconds']:.0f} s with {threads}, PyTorch {manifest['torch']}"
    publish(name, model, recipe, training)


def measure_again(name: str) -> None:
    """Evaluate a shipped model once more; the recipe and the line on its training are taken from its card."""
    file = shipped_files.pretrained_file(name)
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    recipe = re.search(r"## Recipe\n\n```toml\n(.*?)\n```", card, re.DOTALL)
    training = re.search(r"\| trained by \| (.*?) \|\n", card)
    older_versions = re.search(r"\| versions \| Pellucid \S+ (PyTorch \S+) \|", card)
    if recipe is None or training is None:
        raise SystemExit(
            f"{file.with_suffix('.md')} has no recipe or no line 'trained by'; ship it from its run folder"
        )
    training_text = training[1] if older_versions is None else f"{training[1]}, {older_versions[1]}"
    publish(name, Model.load(file), recipe[1], training_text)


def publish_masks(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a segmentation model."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write_model(target, model, {})
    model = Model.load(target)
    scores = evaluate_masks(model)
    results = (
        f"| mean IoU | {scores['miou']:.2%} on {scores['n']:,} images of {data} (`pellucid evaluate {name} --json`) |",
        f"| pixel accuracy | {scores['pixel_accuracy']:.2%} |",
        f"| boundary F1 | {scores['boundary_f1']:.2%} |",
    )
    rows = [
        f"| {row['class']} | {'-' if row['iou'] is None else format(row['iou'], '.2%')} |" for row in scores["classes"]
    ]
    classes = ("## IoU by class", "", "| class | IoU |", "|---|---:|", *rows)
    write_card(target, model, recipe, training, written, results, classes)
    print(f"{name}: mean IoU {scores['miou']:.2%} on {scores['n']:,} images, {written[1]:,} bytes", flush=True)


def publish_keypoints(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a key-point model, with the errors of two baselines without a network."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write_model(target, model, {})
    model = Model.load(target)
    scores = evaluate_keypoints(model)
    material = load_data(read_recipe(tomllib.loads(recipe), name, {}))
    low, high = scores["nme_interval"]
    results = (
        f"| normalised mean error | {scores['nme']:.2%} (95 % interval {low:.2%} to {high:.2%}) on {scores['n']:,} "
        f"images of {data} (`pellucid evaluate {name} --json`) |",
        f"| mean of the training points | {mean_shape_error(material.train, material.test):.2%} |",
        f"| points of the nearest training image | {nearest_points_error(material.train, material.test):.2%} |",
    )
    write_card(target, model, recipe, training, written, results, ())
    print(f"{name}: NME {scores['nme']:.2%} on {scores['n']:,} images, {written[1]:,} bytes", flush=True)


def publish_objects(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a detector, with the results of copying the nearest training image's objects."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write_model(target, model, {})
    model = Model.load(target)
    evaluation = evaluate_objects(model).results
    material = load_data(read_recipe(tomllib.loads(recipe), name, {}))
    nearest_results = evaluate_nearest_objects(material.train, material.test)
    figures, nearest_figures = evaluation.to_json(), nearest_results.to_json()
    prefixes = [""] if evaluation.masks is None else ["box_", "mask_"]
    results = [
        f"| {prefix.replace('_', ' ')}AP50 / AP | {figures[f'{prefix}ap50']:.2%} / {figures[f'{prefix}ap']:.2%}"
        f"{_interval(figures, prefix)} on {evaluation.n:,} images of {data}, {counted_boxes(model)} "
        f"(`pellucid evaluate {name} --json`) |"
        for prefix in prefixes
    ]
    results += [
        f"| {prefix.replace('_', ' ')}AP50 / AP of the nearest training image's objects | "
        f"{nearest_figures[f'{prefix}ap50']:.2%} / {nearest_figures[f'{prefix}ap']:.2%} |"
        for prefix in prefixes
    ]
    rows = [f"| {label} | {count:,} | {ap50:.2%} | {ap:.2%} |" for label, count, ap, ap50 in evaluation.by_class]
    classes = ("## AP of boxes by class", "", "| class | objects | AP50 | AP |", "|---|---:|---:|---:|", *rows)
    write_card(target, model, recipe, training, written, results, classes)
    print(f"{name}: {results[0]} {written[1]:,} bytes", flush=True)


def counted_boxes(model: Model) -> str:
    """Return from which score boxes count in the metrics of a detector, and from which its command shows them."""
    lowest = cast(Detector, model.objective).score_threshold
    return f"of boxes from a score of {lowest:g} (`pellucid detect` shows those from {MIN_SCORE:g})"


def publish_colours(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a colorizer, compared with grey; pix2pix is shipped without its discriminator."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write_model(target, without_discriminator(model), {})
    if written[1] > MAX_COLORIZER_BYTES:
        raise SystemExit(
            f"{target.name} has {written[1]:,} bytes, more than the {MAX_COLORIZER_BYTES:,} of a colorizer"
        )
    model = Model.load(target)
    scores = evaluate_colours(model)
    titles = {
        "psnr": "PSNR in dB, from the pooled error",
        "ssim": "SSIM",
        "delta_e": "CIEDE2000",
        "ab_overlap": "overlap of the histograms of a and b",
        "answers": f"answers of `{scores['backbone']}` that come back, of {scores['n_judged']:,} images",
        "frechet": f"Frechet distance in the features of `{scores['backbone']}` (ours), of {scores['n_judged']:,} "
        "images",
    }
    rows = [f"| {about} | {scores[key]:.4g}; grey: {scores[f'{key}_grey']:.4g} |" for key, about in titles.items()]
    names = {"colourfulness": "M3", "colourfulness_lab": "M1"}
    rows += [
        f"| colourfulness {formula} (Hasler, Suesstrunk 2003) | {scores[key]:.4g}; true: {scores[f'{key}_true']:.4g} |"
        for key, formula in names.items()
    ]
    measured_on = model.preprocess["data"]
    rows.insert(0, f"| measured on | {scores['n']:,} images of {measured_on} (`pellucid evaluate {name} --json`) |")
    trained_on = data if data == measured_on else photos.SOURCES
    made_for = COLOURS_MADE_FOR.format(data=trained_on, name=name, side=Colorizer(model).side)
    write_card(target, model, recipe, training, written, rows, (), made_for=made_for)
    print(f"{name}: PSNR {scores['psnr']:.2f}, grey {scores['psnr_grey']:.2f}; {written[1]:,} bytes", flush=True)


def without_discriminator(model: Model) -> Model:
    """Return a colorizer with the predictions of pix2pix's generator; any other model unchanged."""
    objective = model.objective
    if not isinstance(objective, Pix2Pix):
        return model
    if objective.noise:
        raise SystemExit("pix2pix with noise predicts by chance; ship one with noise=false")
    regression = Regression(
        objective.generator, L1("mean"), to=objective.to, hints=objective.hints, multiple=objective.multiple
    )
    colorizer = Model(regression, input_shape=model.input_shape, classes=model.classes, preprocess=model.preprocess)
    for path, weight in colorizer.weights.items():
        weight.copy_(model.weights[path])
    return colorizer


def _interval(figures: dict[str, Any], prefix: str) -> str:
    """Return the text of the 95 % intervals of AP50 and AP; "" if they were not computed."""
    if f"{prefix}ap_interval" not in figures:
        return ""
    spans = [" to ".join(f"{end:.2%}" for end in figures[f"{prefix}{name}_interval"]) for name in ("ap50", "ap")]
    return f" (95 % intervals {spans[0]}, {spans[1]})"


def write_card(
    target: Path,
    model: Model,
    recipe: str,
    training: str,
    written: tuple[bool, int],
    results: Sequence[str],
    classes: Sequence[str],
    unlike: str = "",
    made_for: str = "",
) -> None:
    """Write the card of a weights file. written: the result of `write_model`. results, classes, unlike: its lines."""
    tables, (half, size) = tomllib.loads(recipe), written
    counts, layers = network_lines(model)
    card = CARD.format(
        name=target.stem,
        about=tables["recipe"]["about"],
        results="\n".join(results),
        counts="\n".join(counts),
        size=size,
        half=" in float16" if half else "",
        sha=model.sha256(),
        training=training,
        unlike=unlike,
        version=__version__,
        torch=torch.__version__,
        licence=licence_row(target.stem),
        made_for=made_for or MADE_FOR.get(target.stem) or MADE_FOR[tables["data"]["name"]],
        classes="\n".join(classes),
        summary=layers,
        recipe=recipe.strip(),
    )
    target.with_suffix(".md").write_text(card, encoding="utf-8")
    write_accuracy(target.stem)  # adds the line on int8


def network_lines(model: Model) -> tuple[list[str], str]:
    """Return the card's lines on the sizes of a model, and the table of its layers, or of an objective's networks."""
    if isinstance(model.objective, Supervised):
        layers = summary(model.net, model.params, model.input_shape)
        sizes = {"parameters": layers.parameters, "multiply-adds per image": layers.multiply_adds}
        return [f"| {title} | {size:,} |" for title, size in sizes.items()], str(layers)
    sizes = {name: sum(leaf.numel() for leaf in leaves(params)) for name, params in model.params.items()}
    rows = [("network", "parameters"), *((name, f"{size:,}") for name, size in sizes.items())]
    return [f"| parameters | {sum(sizes.values()):,} |"], aligned(rows, right=[1])


def write_model(target: Path, model: Model, extra_tensors: dict[str, torch.Tensor]) -> tuple[bool, int]:
    """Write a weights file; return whether it is in float16, and its size in bytes."""
    is_half = sum(leaf.numel() for leaf in model.weights.values()) > MAX_FLOAT32_WEIGHTS
    tensors = {path: tensor.half() if is_half else tensor for path, tensor in model.weights.items()}
    write_weights(target, {**tensors, **extra_tensors}, with_licence(target.stem, model.about()))
    size = target.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{target.name} has {size:,} bytes, more than the {MAX_BYTES:,} that are shipped")
    return is_half, size


def publish(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and its card; raises PellucidError if a card with the accuracy in int8 cannot be written here."""
    if has_int8(model):
        check_int8_processor()  # before files are changed
    if is_colorizer(model):
        publish_colours(name, model, recipe, training)
        return
    if is_detector(model):
        publish_objects(name, model, recipe, training)
        return
    if is_segmenter(model):
        publish_masks(name, model, recipe, training)
        return
    if is_keypoint_model(model):
        publish_keypoints(name, model, recipe, training)
        return
    target = ROOT / "pretrained" / f"{name}.safetensors"
    tables = tomllib.loads(recipe)
    splits = load_splits(table_for(model.input_shape, tables["data"]["name"]))
    familiarity_images, other_images = (
        splits.test.x[::2],
        splits.test.x[1::2],
    )  # split as in a training without validation data
    indices = evenly_spaced_indices(len(splits.train))
    examples = (with_lower_resolutions(splits.train.x[indices]), splits.train.y[indices])
    familiarity = fit_familiarity(model.net, model.params, examples, familiarity_images, model.stats)
    assert familiarity is not None  # all other shipped models are image classifiers
    model.familiarity = familiarity
    written = write_model(target, model, named_tensors(familiarity))
    model = Model.load(target)
    distances = model.distance(other_images)
    assert distances is not None
    share_beyond = float((distances > familiarity.threshold).double().mean())
    evaluation = run_pellucid("evaluate", name)
    results = (
        f"| test accuracy | {evaluation['accuracy']:.2%} on {evaluation['n']:,} images of {evaluation['data']} "
        f"(`pellucid evaluate {name} --json`) |",
        f"| test loss | {evaluation['loss']:.4f} |",
    )
    rows = [f"| {row['class']} | {row['n']:,} | {row['recall']:.2%} |" for row in evaluation["classes"]]
    classes = ("## Accuracy by class", "", "| class | images | accuracy |", "|---|---:|---:|", *rows)
    unlike = (
        f"| unlike its training data | beyond a distance of {familiarity.threshold:.3f}, "
        f"which {familiarity.alarms:.1%} of the {familiarity.held_out:,} test images that it was fitted on exceed, and "
        f"{share_beyond:.1%} of {len(other_images):,} others |\n"
    )
    write_card(target, model, recipe, training, written, results, classes, unlike)
    print(f"{name}: {evaluation['accuracy']:.2%} on {evaluation['n']:,} images, {written[1]:,} bytes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER|NAME")
    for run_or_name in parser.parse_args().runs:
        if run_or_name in shipped_files.pretrained_names():
            measure_again(run_or_name)
        else:
            ship(Path(run_or_name))


if __name__ == "__main__":
    main()
