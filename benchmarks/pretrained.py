"""Ship a trained model and write its card: `python -m benchmarks.pretrained RUN_FOLDER ...`.

The run folder's recipe names the model. The card's figures are those that `pellucid evaluate NAME --json` prints for
the shipped file.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from pellucid import __version__
from pellucid.cli.models import weights_file
from pellucid.tasks.confidence import fit_confidence
from pellucid.tasks.pictures import held_out
from pellucid.train.model import Model
from pellucid.train.summary import summary
from pellucid.train.weights import write_weights

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 5_000_000  # bytes

CARD = """# {name}

{about}

Written by `python -m benchmarks.pretrained`, which evaluated the shipped file; nothing is typed by hand.

| | |
|---|---|
| test accuracy | {accuracy:.2%} on {n:,} images of {data} (`pellucid evaluate {name} --json`) |
| test loss | {loss:.4f} |
| parameters | {parameters:,} |
| multiply-adds per image | {multiply_adds:,} |
| file | {size:,} bytes{half}, weights SHA-256 {sha} |
| trained by | `pellucid train {trained} recipe.seed={seed}`, {seconds:.0f} s with {threads} threads |
| versions | Pellucid {version}, PyTorch {torch} |
| licence | Apache-2.0 for the weights; {data}'s own licence for the images |

{made_for}

## Accuracy by class

| class | images | accuracy |
|---|---:|---:|
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

SHIPPED_AS = {"signs-best": "signs"}
MADE_FOR = {
    "mnist": "Made for grey 28x28 digits laid out as MNIST lays them out; `pellucid predict` brings a photograph or "
    "drawing into\nthat form. Other pictures get one of the ten digits too, with a probability that means nothing.",
    "cifar10": "Made for 32x32 colour pictures of the ten classes, and as a backbone for others: "
    "`start.weights=cifar` in a recipe.\nAny other picture gets one of the ten classes too, with a probability that "
    "means nothing.",
    "signs": "Made for square colour pictures of one hand before a plain ground, as in the data; a hand in front of a "
    'room, or two hands,\nis not what it has seen. `pellucid gestures predict` answers "unsure" below the calibrated '
    "probability that the file holds.\nTemperature and threshold were fitted on the images above, so what `pellucid "
    "evaluate signs` says of calibration and\ncoverage there flatters; the accuracy does not depend on them.",
}


def ship(run: Path) -> None:
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(recipe)
    trained: str = tables["recipe"]["name"]
    name: str = SHIPPED_AS.get(trained, trained)
    target = ROOT / "pretrained" / f"{name}.safetensors"
    model = Model.load(weights_file(str(run)))
    if name == "signs":
        held = held_out(model, None)
        model.confidence = fit_confidence(model.predict(held), held.y)
    model.save(target)
    half = target.stat().st_size > LARGEST
    if half:  # float16 keeps 11 bits of each weight; what the card says was measured with them
        write_weights(target, {path: tensor.half() for path, tensor in model.weights.items()}, model.about())
        model = Model.load(target)
    if target.stat().st_size > LARGEST:
        raise SystemExit(
            f"{target.name} has {target.stat().st_size:,} bytes, more than the {LARGEST:,} that are shipped"
        )
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "evaluate", name, "--json"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    table = summary(model.net, model.params, model.input_shape)
    rows = [f"| {row['class']} | {row['n']:,} | {row['recall']:.2%} |" for row in found["classes"]]
    card = CARD.format(
        name=name,
        trained=trained,
        about=tables["recipe"]["about"],
        accuracy=found["accuracy"],
        n=found["n"],
        data=found["data"],
        loss=found["loss"],
        parameters=table.parameters,
        multiply_adds=table.multiply_adds,
        size=target.stat().st_size,
        half=" in float16" if half else "",
        made_for=MADE_FOR[tables["data"]["name"]],
        sha=model.sha256(),
        seed=tables["recipe"]["seed"],
        seconds=results["seconds"],
        threads=manifest["threads"],
        version=__version__,
        torch=manifest["torch"],
        classes="\n".join(rows),
        summary=str(table),
        recipe=recipe.strip(),
    )
    target.with_suffix(".md").write_text(card, encoding="utf-8")
    print(f"{name}: {found['accuracy']:.2%} on {found['n']:,} images, {target.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER")
    for run in parser.parse_args().runs:
        ship(run)


if __name__ == "__main__":
    main()
