"""Ship a trained model and write its card: `python -m benchmarks.pretrained RUN_FOLDER|NAME ...`.

A run folder's recipe names the model. The NAME of a shipped model measures it anew: what its training data look like
(see pellucid.calibration.familiarity) and all of its card but what only the training knew, which stays as it is.
The card's figures are those that `pellucid evaluate NAME --json` prints for the shipped file.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import photos
from benchmarks.baselines import mean_shape, nearest_objects, nearest_points
from benchmarks.results import answer
from pellucid import __version__, shipped_files
from pellucid.calibration.familiarity import fit_familiarity, named_tensors
from pellucid.generators import Pix2Pix, Regression
from pellucid.losses import L1
from pellucid.model import Model
from pellucid.nested import leaves
from pellucid.network.summary import summary
from pellucid.objective import Supervised
from pellucid.recipe.job import load_data
from pellucid.recipe.material import load_splits, table_for
from pellucid.recipe.recipe import read_recipe
from pellucid.run.folder import weights_file
from pellucid.run.weights import write_weights
from pellucid.tasks.classify.confidence import fit_confidence
from pellucid.tasks.colorize.colorizer import Colorizer, is_colorizer
from pellucid.tasks.colorize.measure import evaluate as evaluate_colours
from pellucid.tasks.detect.finder import is_detector
from pellucid.tasks.detect.measure import evaluate as evaluate_objects
from pellucid.tasks.keypoints.finder import is_keypoint_model
from pellucid.tasks.keypoints.measure import evaluate as evaluate_keypoints
from pellucid.tasks.pictures import held_out
from pellucid.tasks.segment.segmenter import evaluate as evaluate_masks
from pellucid.tasks.segment.segmenter import is_segmenter
from pellucid.text import aligned, plural

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 6_000_000  # bytes
LARGEST_COLORIZER = 5_000_000
MOST_FLOAT32 = 1_250_000  # weights: more are shipped in float16, which keeps 11 bits of each

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
| licence | Apache-2.0 for the weights; {data}'s own licence for the images |

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
PHOTOS = "cifar10"  # whose test images measure a colorizer that learned from the training images of several sets
COLOURS_MADE_FOR = """Made for photos like those of {data} (`pellucid colorize {name} PHOTO --out DIR`).
They are resized to a shorter side of {side} pixels for the network, whose colours are then enlarged: small things share
the colours around them. What it has not seen, such as pictures of a microscope, it may colour worse than grey.
Colours are guesses: what has no usual colour, such as clothes and cars, mostly stays near grey, which PSNR, SSIM and
CIEDE2000 favour."""
MADE_FOR = {  # by the model's name, or else by that of its data
    "camvid": "Made for road scenes seen from a car, 240x180 or somewhat larger (`pellucid segment camvid PHOTO --out "
    "DIR`); anything else\ngets these classes too. Those images are one scene of a drive that it has seen other parts "
    "of: expect less of other\ndrives. Poles and signs, a few pixels wide at this size, it mostly misses.",
    "faces": "Made for upright faces that fill the image (`pellucid keypoints faces CROP`); a photograph with a small "
    "face, or\nwith several, gets 68 points that mean nothing. The images are frames of videos, and for 59 % of "
    "those of val the training\ndata hold a frame of the same clip: expect a larger error on other people.",
    "bccd": "Made for blood smears under a microscope as in the data: 640x480, stained, some 10 to 20 cells of 100 "
    "pixels (`pellucid\ndetect bccd PHOTO --out DIR`). Other magnifications, stains and cameras it has not seen. In "
    "some of the images red cells\nare not labelled, or twice: its count of red cells is no medical measurement.",
    "pennfudan": "Made for people who stand or walk upright, seen whole from the street, 20 pixels high or more "
    "(`pellucid detect pennfudan\nPHOTO --out DIR`). Its 120 training images are of two campuses: people who sit, lie, "
    "or are cut off it often misses.",
    "mnist": "Made for grey 28x28 digits laid out as MNIST lays them out; `pellucid predict` brings a photograph or "
    "drawing into\nthat form. Other pictures get one of the ten digits too, with a probability that means nothing;\n"
    "some are said to be unlike anything it was trained on (docs/unfamiliar.md).",
    "cifar10": "Made for 32x32 colour pictures of the ten classes, and as a backbone for others: "
    "`start.weights=cifar` in a recipe.\nAny other picture gets one of the ten classes too, with a probability that "
    "means nothing;\nsome are said to be unlike anything it was trained on (docs/unfamiliar.md).",
    "vit-tiny": "Made for 32x32 colour pictures of the ten classes, and for seeing how a vision transformer decides "
    "(docs/how-to/open.md). As a\nbackbone, and for accuracy, `cifar` is better. Any other picture gets one of the ten "
    "classes too, with a probability\nthat means nothing; some are said to be unlike anything it was trained on "
    "(docs/unfamiliar.md).",
    "signs": "Made for square colour pictures of one hand before a plain ground, as in the data; a hand in front of a "
    'room, or two hands,\nis not what it has seen. `pellucid gestures predict` answers "unsure" below the calibrated '
    "probability that the file holds.\nTemperature and threshold were fitted on the images above, so what `pellucid "
    "evaluate signs` says of calibration and\ncoverage there flatters; the accuracy does not depend on them.",
}


def ship(run: Path) -> None:
    """Ship the best weights of a run."""
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(recipe)
    trained: str = tables["recipe"]["name"]
    model = Model.load(weights_file(str(run)))
    name = SHIPPED_AS.get(trained, trained)
    if name == "signs":
        held = held_out(model, None)
        model.confidence = fit_confidence(model.predict(held), held.y)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    command = f"`pellucid train {trained} recipe.seed={tables['recipe']['seed']}`"
    folder = tables["data"]["name"]
    if trained not in shipped_files.recipe_names():
        command = "`python -m benchmarks.photos photos` and the recipe below"
        recipe = recipe.replace(folder, "photos")
        model.preprocess["data"] = PHOTOS
    threads = plural(manifest["threads"], "thread")
    training = f"{command}, {results['seconds']:.0f} s with {threads}, PyTorch {manifest['torch']}"
    publish(name, model, recipe, training)


def again(name: str) -> None:
    """Measure a shipped model anew; what its training took, and its recipe, are those of its card."""
    file = shipped_files.pretrained_file(name)
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    recipe = re.search(r"## Recipe\n\n```toml\n(.*?)\n```", card, re.DOTALL)
    training = re.search(r"\| trained by \| (.*?) \|\n", card)
    before = re.search(r"\| versions \| Pellucid \S+ (PyTorch \S+) \|", card)
    if recipe is None or training is None:
        raise SystemExit(
            f"{file.with_suffix('.md')} has no recipe or no line 'trained by'; ship it from its run folder"
        )
    took = training[1] if before is None else f"{training[1]}, {before[1]}"
    publish(name, Model.load(file), recipe[1], took)


def publish_masks(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a model of masks."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write(target, model, {})
    model = Model.load(target)
    found = evaluate_masks(model)
    results = (
        f"| mean IoU | {found['miou']:.2%} on {found['n']:,} images of {data} (`pellucid evaluate {name} --json`) |",
        f"| pixel accuracy | {found['pixel_accuracy']:.2%} |",
        f"| boundary F1 | {found['boundary_f1']:.2%} |",
    )
    rows = [
        f"| {row['class']} | {'-' if row['iou'] is None else format(row['iou'], '.2%')} |" for row in found["classes"]
    ]
    classes = ("## IoU by class", "", "| class | IoU |", "|---|---:|", *rows)
    write_card(target, model, recipe, training, written, data, results, classes)
    print(f"{name}: mean IoU {found['miou']:.2%} on {found['n']:,} images, {written[1]:,} bytes", flush=True)


def publish_keypoints(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a model of key-points, beside two baselines that learn nothing."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write(target, model, {})
    model = Model.load(target)
    found = evaluate_keypoints(model)
    material = load_data(read_recipe(tomllib.loads(recipe), name, {}))
    low, high = found["nme_interval"]
    results = (
        f"| normalised mean error | {found['nme']:.2%} (95 % interval {low:.2%} to {high:.2%}) on {found['n']:,} "
        f"images of {data} (`pellucid evaluate {name} --json`) |",
        f"| mean of the training points | {mean_shape(material.train, material.test):.2%} |",
        f"| points of the nearest training image | {nearest_points(material.train, material.test):.2%} |",
    )
    write_card(target, model, recipe, training, written, data, results, ())
    print(f"{name}: NME {found['nme']:.2%} on {found['n']:,} images, {written[1]:,} bytes", flush=True)


def publish_objects(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a detector, beside copying what the nearest training image holds."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write(target, model, {})
    model = Model.load(target)
    found = evaluate_objects(model).results
    material = load_data(read_recipe(tomllib.loads(recipe), name, {}))
    copied = nearest_objects(material.train, material.test)
    figures, others = found.to_json(), copied.to_json()
    kinds = [""] if found.masks is None else ["box_", "mask_"]
    results = [
        f"| {kind.replace('_', ' ')}AP50 / AP | {figures[f'{kind}ap50']:.2%} / {figures[f'{kind}ap']:.2%}"
        f"{_interval(figures, kind)} on {found.n:,} images of {data} (`pellucid evaluate {name} --json`) |"
        for kind in kinds
    ]
    results += [
        f"| {kind.replace('_', ' ')}AP50 / AP of the nearest training image's objects | {others[f'{kind}ap50']:.2%} / "
        f"{others[f'{kind}ap']:.2%} |"
        for kind in kinds
    ]
    rows = [f"| {label} | {count:,} | {ap50:.2%} | {ap:.2%} |" for label, count, ap, ap50 in found.by_class]
    classes = ("## AP of boxes by class", "", "| class | objects | AP50 | AP |", "|---|---:|---:|---:|", *rows)
    write_card(target, model, recipe, training, written, data, results, classes)
    print(f"{name}: {results[0]} {written[1]:,} bytes", flush=True)


def publish_colours(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and the card of a colorizer, beside grey; of pix2pix without its discriminator."""
    target, data = ROOT / "pretrained" / f"{name}.safetensors", tomllib.loads(recipe)["data"]["name"]
    written = write(target, without_discriminator(model), {})
    if written[1] > LARGEST_COLORIZER:
        raise SystemExit(f"{target.name} has {written[1]:,} bytes, more than the {LARGEST_COLORIZER:,} of a colorizer")
    model = Model.load(target)
    found = evaluate_colours(model)
    beside = {
        "psnr": "PSNR in dB, from the pooled error",
        "ssim": "SSIM",
        "delta_e": "CIEDE2000",
        "ab_overlap": "overlap of the histograms of a and b",
        "answers": f"answers of `{found['backbone']}` that come back, of {found['n_judged']:,} images",
        "frechet": f"Frechet distance in the features of `{found['backbone']}` (ours), of {found['n_judged']:,} images",
    }
    rows = [f"| {about} | {found[key]:.4g}; grey: {found[f'{key}_grey']:.4g} |" for key, about in beside.items()]
    names = {"colourfulness": "M3", "colourfulness_lab": "M1"}
    rows += [
        f"| colourfulness {which} (Hasler, Suesstrunk 2003) | {found[key]:.4g}; true: {found[f'{key}_true']:.4g} |"
        for key, which in names.items()
    ]
    measured = model.preprocess["data"]
    rows.insert(0, f"| measured on | {found['n']:,} images of {measured} (`pellucid evaluate {name} --json`) |")
    learned = data if data == measured else photos.ABOUT
    made_for = COLOURS_MADE_FOR.format(data=learned, name=name, side=Colorizer(model).side)
    write_card(target, model, recipe, training, written, measured, rows, (), made_for=made_for)
    print(f"{name}: PSNR {found['psnr']:.2f}, grey {found['psnr_grey']:.2f}; {written[1]:,} bytes", flush=True)


def without_discriminator(model: Model) -> Model:
    """Return a colorizer that predicts as the generator of pix2pix does; any other model unchanged."""
    learned = model.objective
    if not isinstance(learned, Pix2Pix):
        return model
    if learned.noise:
        raise SystemExit("pix2pix with noise predicts by chance; ship one with noise=false")
    alone = Regression(learned.generator, L1("mean"), to=learned.to, hints=learned.hints, multiple=learned.multiple)
    it = Model(alone, input_shape=model.input_shape, classes=model.classes, preprocess=model.preprocess)
    for path, weight in it.weights.items():
        weight.copy_(model.weights[path])
    return it


def _interval(figures: dict[str, Any], kind: str) -> str:
    """Return the 95 % intervals of both figures, where they were measured."""
    if f"{kind}ap_interval" not in figures:
        return ""
    spans = [" to ".join(f"{end:.2%}" for end in figures[f"{kind}{name}_interval"]) for name in ("ap50", "ap")]
    return f" (95 % intervals {spans[0]}, {spans[1]})"


def write_card(
    target: Path,
    model: Model,
    recipe: str,
    training: str,
    written: tuple[bool, int],
    data: str,
    results: Sequence[str],
    classes: Sequence[str],
    unlike: str = "",
    made_for: str = "",
) -> None:
    """Write the card beside a weights file; written: what `write` returned; the others: lines of the card."""
    tables, (half, size) = tomllib.loads(recipe), written
    counts, layers = network(model)
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
        data=data,
        made_for=made_for or MADE_FOR.get(target.stem) or MADE_FOR[tables["data"]["name"]],
        classes="\n".join(classes),
        summary=layers,
        recipe=recipe.strip(),
    )
    target.with_suffix(".md").write_text(card, encoding="utf-8")


def network(model: Model) -> tuple[list[str], str]:
    """Return the lines of a card with a model's sizes, and the list of its layers; of an objective, of its networks."""
    if isinstance(model.objective, Supervised):
        table = summary(model.net, model.params, model.input_shape)
        sizes = {"parameters": table.parameters, "multiply-adds per image": table.multiply_adds}
        return [f"| {what} | {size:,} |" for what, size in sizes.items()], str(table)
    sizes = {name: sum(leaf.numel() for leaf in leaves(params)) for name, params in model.params.items()}
    rows = [("network", "parameters"), *((name, f"{size:,}") for name, size in sizes.items())]
    return [f"| parameters | {sum(sizes.values()):,} |"], aligned(rows, right=[1])


def write(target: Path, model: Model, more: dict[str, torch.Tensor]) -> tuple[bool, int]:
    """Write a weights file; return whether it is in float16, and its size."""
    half = sum(leaf.numel() for leaf in model.weights.values()) > MOST_FLOAT32
    tensors = {path: tensor.half() if half else tensor for path, tensor in model.weights.items()}
    write_weights(target, {**tensors, **more}, model.about())
    size = target.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{target.name} has {size:,} bytes, more than the {LARGEST:,} that are shipped")
    return half, size


def publish(name: str, model: Model, recipe: str, training: str) -> None:
    """Write the file and its card."""
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
    held, rest = splits.test.x[::2], splits.test.x[1::2]  # as in a training without validation data
    known = fit_familiarity(model.net, model.params, (splits.train.x, splits.train.y), held, model.stats)
    assert known is not None  # all that is shipped are classifiers of images
    model.familiarity = known
    written = write(target, model, named_tensors(known))
    model = Model.load(target)
    distances = model.distance(rest)
    assert distances is not None
    others = float((distances > known.threshold).double().mean())
    found = answer("evaluate", name)
    results = (
        f"| test accuracy | {found['accuracy']:.2%} on {found['n']:,} images of {found['data']} "
        f"(`pellucid evaluate {name} --json`) |",
        f"| test loss | {found['loss']:.4f} |",
    )
    rows = [f"| {row['class']} | {row['n']:,} | {row['recall']:.2%} |" for row in found["classes"]]
    classes = ("## Accuracy by class", "", "| class | images | accuracy |", "|---|---:|---:|", *rows)
    unlike = (
        f"| unlike its training data | beyond a distance of {known.threshold:.3f}, which {known.alarms:.1%} of the "
        f"{known.held_out:,} test images that it was fitted on exceed, and {others:.1%} of {len(rest):,} others |\n"
    )
    write_card(target, model, recipe, training, written, found["data"], results, classes, unlike)
    print(f"{name}: {found['accuracy']:.2%} on {found['n']:,} images, {written[1]:,} bytes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER|NAME")
    for given in parser.parse_args().runs:
        if given in shipped_files.pretrained_names():
            again(given)
        else:
            ship(Path(given))


if __name__ == "__main__":
    main()
