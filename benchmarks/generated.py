"""Evaluate generators and colorizers and write docs/generated.md: `python -m benchmarks.generated [RUN ...]`.

Each RUN, a folder written by `pellucid train`, is evaluated by `pellucid evaluate RUN --json`. Its results are added
to docs/generated.json as soon as they are known, and the page is rewritten from that file. `--found FILE` uses the
JSON object that an earlier `pellucid evaluate RUN --json` printed for a single RUN.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT, machine, measured_with, open_results, run_pellucid
from pellucid.recipe.compare import flat_settings
from pellucid.recipe.recipe import load_recipe

RESULTS, PAGE = ROOT / "docs/generated.json", ROOT / "docs/generated.md"
QUOTATION_MARK = '"'
IGNORED_SETTINGS = {"recipe.seed", "recipe.threads", "train.keep"}
HEADING = """# Results of generators and colorizers

Written by `python -m benchmarks.generated RUN ...` from what `pellucid evaluate RUN --json` prints; nothing is typed by
hand. No model was selected by these figures. Frechet distances are computed in the features of a classifier of this
project, so they are comparable only with each other, and only for the same number of images.
"""


def with_baseline(scores: Mapping[str, Any], name: str, baseline: str) -> str:
    """Return the text of a score, followed by that of the baseline in brackets."""
    return f"{scores[name]:.3f} ({scores[f'{name}_{baseline}']:.3f})"


def likelihood_text(scores: Mapping[str, Any]) -> str:
    """Return the text of the mean log-likelihood of test images and its standard error; "-" if it is not finite."""
    parzen = scores["parzen"]
    return f"{parzen['mean']:.1f} ± {parzen['error']:.1f}" if parzen and math.isfinite(parzen["mean"]) else "-"


Figures = tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...]
COLOUR_FIGURES: Figures = (
    ("PSNR in dB (grey)", lambda scores: f"{scores['psnr']:.2f} ({scores['psnr_grey']:.2f})"),
    ("overlap of the histograms of a and b (grey)", lambda scores: with_baseline(scores, "ab_overlap", "grey")),
    ("Frechet distance (grey)", lambda scores: with_baseline(scores, "frechet", "grey")),
    ("colourfulness M3 (true)", lambda scores: f"{scores['colourfulness']:.1f} ({scores['colourfulness_true']:.1f})"),
    ("CIEDE2000 (grey)", lambda scores: f"{scores['delta_e']:.2f} ({scores['delta_e_grey']:.2f})"),
    ("answers that come back (grey)", lambda scores: with_baseline(scores, "answers", "grey")),
)
PHOTO_FIGURES: Figures = (
    ("Frechet distance of tiles (mean colour of each label)", lambda scores: with_baseline(scores, "frechet", "flat")),
    ("PSNR in dB (mean colour)", lambda scores: f"{scores['psnr']:.2f} ({scores['psnr_flat']:.2f})"),
    ("SSIM (mean colour)", lambda scores: with_baseline(scores, "ssim", "flat")),
)
SAMPLE_FIGURES: Figures = (
    ("classes covered", lambda scores: f"{scores['variety']['covered']}" if scores["variety"] else "-"),
    ("entropy in nats", lambda scores: f"{scores['variety']['entropy']:.3f}" if scores["variety"] else "-"),
    ("Frechet distance", lambda scores: f"{scores['frechet']:.3f}" if scores["frechet"] is not None else "-"),
    ("Parzen log-likelihood in nats", likelihood_text),
    ("samples", lambda scores: f"{scores['n']:,}"),
)
SECTIONS = {
    "ab_overlap": ("Colours of grey images", COLOUR_FIGURES),
    "psnr_flat": ("Photos of maps of labels", PHOTO_FIGURES),
    "parzen": ("Samples", SAMPLE_FIGURES),
}  # by a key that is present only in the results of this kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--found", type=Path, metavar="FILE", help="the results of the one RUN")
    args = parser.parse_args()
    if args.found is not None and len(args.runs) != 1:
        parser.error("--found is for one RUN")
    for run in args.runs:
        record(run, json.loads(args.found.read_bytes()) if args.found else run_pellucid("evaluate", str(run)))
    write_page()


def record(run: Path, scores: dict[str, Any]) -> None:
    """Add the results of a run to docs/generated.json."""
    recipe = load_recipe(run / "recipe.toml")
    trained = json.loads((run / "results.json").read_bytes())
    key = " ".join([recipe.recipe.name, *changed_settings(recipe.recipe.name, run)])
    figures = {name: value for name, value in scores.items() if name not in ("model", "data")}
    with open_results(RESULTS) as results:
        entry = results.setdefault(key, {})
        entry[str(recipe.recipe.seed)] = figures | {"seconds": trained["seconds"]} | measured_with()


def changed_settings(name: str, run: Path) -> list[str]:
    """Return the settings in which a run differs from the recipe `name`, as arguments of `pellucid train`."""
    trained = load_recipe(run / "recipe.toml")
    run_settings, recipe_settings = flat_settings(trained.tables()), flat_settings(load_recipe(name).tables())
    model = run_settings["objective.model"]
    if model != recipe_settings["objective.model"]:  # the recipe's file has the arguments of another model
        recipe_settings = flat_settings(load_recipe(name, {"objective.model": json.loads(model)}).tables()) | {
            "objective.model": ""
        }
    changed = {
        key: value
        for key, value in run_settings.items()
        if recipe_settings.get(key) != value and key not in IGNORED_SETTINGS
    }
    return [f"{key}={value.strip(QUOTATION_MARK)}" for key, value in changed.items()]


def write_page() -> None:
    """Write docs/generated.md from docs/generated.json."""
    with open_results(RESULTS) as results:
        parts = [HEADING]
        for section_key, (title, figures) in SECTIONS.items():
            trainings = {
                key: seeds for key, seeds in sorted(results.items()) if section_key in next(iter(seeds.values()))
            }
            columns = ["command", "seed", *(name for name, _ in figures), "training", "measured"]
            table = [f"\n## {title}\n", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
            for key, seeds in trainings.items():
                for seed, scores in sorted(seeds.items()):
                    measured = f"{scores['date']}, {scores['pellucid']}, torch {scores['torch']}, {machine(scores)}"
                    duration = f"{scores['seconds'] / 60:.0f} min"
                    cells = [
                        f"`pellucid train {key}`",
                        seed,
                        *(figure_text(scores) for _, figure_text in figures),
                        duration,
                        measured,
                    ]
                    table.append(f"| {' | '.join(cells)} |")
            parts += [f"{line}\n" for line in table] if trainings else []
    PAGE.write_text("".join(parts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
