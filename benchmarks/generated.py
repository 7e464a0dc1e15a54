"""Judge trained generators and colorizers and write docs/generated.md: `python -m benchmarks.generated [RUN ...]`.

Each RUN, the folder of a `pellucid train`, is measured by `pellucid evaluate RUN --json`. What it found goes to
docs/generated.json at once, beside what is there of other trainings and seeds, and the page is written anew from that
file. `--found FILE` takes the object that an earlier `pellucid evaluate RUN --json` of one RUN printed.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT, answer, machine, measured_with, stored
from pellucid.recipe.compare import settings
from pellucid.recipe.recipe import load_recipe

RESULTS, PAGE = ROOT / "docs/generated.json", ROOT / "docs/generated.md"
QUOTE = '"'
UNCHANGING = {"recipe.seed", "recipe.threads", "train.keep"}
HEADING = """# Results of generators and colorizers

Written by `python -m benchmarks.generated RUN ...` from what `pellucid evaluate RUN --json` prints; nothing is typed by
hand. No figure chose a model. Frechet distances are in the features of a classifier of this project, so they compare
with each other only, and only for the same number of images.
"""


def pair(found: Mapping[str, Any], name: str, baseline: str) -> str:
    """Write a figure, and in brackets that of the baseline."""
    return f"{found[name]:.3f} ({found[f'{name}_{baseline}']:.3f})"


def likelihood(found: Mapping[str, Any]) -> str:
    """Write the mean log-likelihood of test images and its standard error."""
    it = found["parzen"]
    return f"{it['mean']:.1f} ± {it['error']:.1f}" if it and math.isfinite(it["mean"]) else "-"


Figures = tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...]
COLOURS: Figures = (
    ("PSNR in dB (grey)", lambda found: f"{found['psnr']:.2f} ({found['psnr_grey']:.2f})"),
    ("overlap of the histograms of a and b (grey)", lambda found: pair(found, "ab_overlap", "grey")),
    ("Frechet distance (grey)", lambda found: pair(found, "frechet", "grey")),
    ("colourfulness M3 (true)", lambda found: f"{found['colourfulness']:.1f} ({found['colourfulness_true']:.1f})"),
    ("CIEDE2000 (grey)", lambda found: f"{found['delta_e']:.2f} ({found['delta_e_grey']:.2f})"),
    ("answers that come back (grey)", lambda found: pair(found, "answers", "grey")),
)
PHOTOS: Figures = (
    ("Frechet distance of tiles (mean colour of each label)", lambda found: pair(found, "frechet", "flat")),
    ("PSNR in dB (mean colour)", lambda found: f"{found['psnr']:.2f} ({found['psnr_flat']:.2f})"),
    ("SSIM (mean colour)", lambda found: pair(found, "ssim", "flat")),
)
SAMPLES: Figures = (
    ("classes covered", lambda found: f"{found['variety']['covered']}" if found["variety"] else "-"),
    ("entropy in nats", lambda found: f"{found['variety']['entropy']:.3f}" if found["variety"] else "-"),
    ("Frechet distance", lambda found: f"{found['frechet']:.3f}" if found["frechet"] is not None else "-"),
    ("Parzen log-likelihood in nats", likelihood),
    ("samples", lambda found: f"{found['n']:,}"),
)
SECTIONS = {
    "ab_overlap": ("Colours of grey images", COLOURS),
    "psnr_flat": ("Photos of maps of labels", PHOTOS),
    "parzen": ("Samples", SAMPLES),
}  # by a key of what `pellucid evaluate` found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--found", type=Path, metavar="FILE", help="the results of the one RUN")
    args = parser.parse_args()
    if args.found is not None and len(args.runs) != 1:
        parser.error("--found is for one RUN")
    for run in args.runs:
        record(run, json.loads(args.found.read_bytes()) if args.found else answer("evaluate", str(run)))
    write_page()


def record(run: Path, found: dict[str, Any]) -> None:
    """Add the results of a run to docs/generated.json."""
    recipe = load_recipe(run / "recipe.toml")
    trained = json.loads((run / "results.json").read_bytes())
    key = " ".join([recipe.recipe.name, *changes(recipe.recipe.name, run)])
    kept = {name: value for name, value in found.items() if name not in ("model", "data")}
    with stored(RESULTS) as results:
        entry = results.setdefault(key, {})
        entry[str(recipe.recipe.seed)] = kept | {"seconds": trained["seconds"]} | measured_with()


def changes(name: str, run: Path) -> list[str]:
    """Return the settings in which a run differs from the recipe of its name, as given to `pellucid train`."""
    trained = load_recipe(run / "recipe.toml")
    own, usual = settings(trained.tables()), settings(load_recipe(name).tables())
    model = own["objective.model"]
    if model != usual["objective.model"]:  # the arguments in the recipe's file are for another model
        usual = settings(load_recipe(name, {"objective.model": json.loads(model)}).tables()) | {"objective.model": ""}
    changed = {key: value for key, value in own.items() if usual.get(key) != value and key not in UNCHANGING}
    return [f"{key}={value.strip(QUOTE)}" for key, value in changed.items()]


def write_page() -> None:
    """Write docs/generated.md from docs/generated.json."""
    with stored(RESULTS) as results:
        parts = [HEADING]
        for mark, (title, figures) in SECTIONS.items():
            chosen = {key: seeds for key, seeds in sorted(results.items()) if mark in next(iter(seeds.values()))}
            names = ["command", "seed", *(name for name, _ in figures), "training", "measured"]
            table = [f"\n## {title}\n", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
            for key, seeds in chosen.items():
                for seed, found in sorted(seeds.items()):
                    said = f"{found['date']}, {found['pellucid']}, torch {found['torch']}, {machine(found)}"
                    took = f"{found['seconds'] / 60:.0f} min"
                    cells = [f"`pellucid train {key}`", seed, *(show(found) for _, show in figures), took, said]
                    table.append(f"| {' | '.join(cells)} |")
            parts += [f"{line}\n" for line in table] if chosen else []
    PAGE.write_text("".join(parts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
