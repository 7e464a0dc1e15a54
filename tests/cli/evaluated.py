"""Evaluate shipped models on small folders and print their results: run by tests, directly and with torchrun.

Usage: `torchrun --nproc-per-node N -m tests.cli.evaluated FOLDER`, with a folder that `write_data` has filled.
"""

import json
import sys
from pathlib import Path

import torch

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import Arrays
from pellucid.data.samples.files import write_samples
from pellucid.generators import GMMN
from pellucid.model import Model
from pellucid.models.gmmn import gmmn_generator
from pellucid.tasks.generate.measure import evaluate_generator
from pellucid.training.distributed import processes
from tests.cli.test_train_own import coco
from tests.generators.small import gan

DATA_BY_MODEL = {
    "mnist-conv": "samples/digits",
    "bccd": "samples/cells",
    "pennfudan": "people",  # with masks
    "faces": "samples/faces",
    "camvid": "samples/street",
    "colorize": "samples/shapes",
}

GENERATOR, DIGIT = "gan.safetensors", (1, 28, 28)


def write_data(folder: Path) -> None:
    """Write the data of DATA_BY_MODEL and a generator; every task has more than one chunk of pictures."""
    write_samples(folder / "samples")
    (folder / "people").mkdir()
    document = json.loads((coco(folder / "people", points=False, count=10) / "annotations.json").read_text())
    annotations = [annotation for annotation in document["annotations"] if annotation["category_id"] == 0]
    document |= {"annotations": annotations, "categories": [{"id": 0, "name": "person"}]}
    (folder / "people/annotations.json").write_text(json.dumps(document))
    Model(gan(), input_shape=(1, 8, 8), seed=1).save(folder / GENERATOR)


def evaluate(folder: Path) -> None:
    """Print a line of JSON for each model and for two generators, and write the HTML page of `bccd`."""
    page = folder / f"page-of-{processes().count}.html"
    for model, data in DATA_BY_MODEL.items():
        html_options = ["--html", str(page)] if model == "bccd" else []
        assert main(["evaluate", model, "--data", str(folder / data), *html_options, "--json"]) == 0
    assert main(["evaluate", str(folder / GENERATOR), "--data", "digits", "--json"]) == 0
    rng = torch.Generator().manual_seed(1)
    train, test = (Arrays(torch.rand(n, *DIGIT, generator=rng), torch.zeros(n), None, "") for n in (2100, 700))
    model = Model(GMMN(gmmn_generator(DIGIT, (6,)), 3), input_shape=DIGIT, seed=1)
    evaluation = evaluate_generator(model, train, test, "mnist", 1100, processes())
    if processes().is_first:
        print(json.dumps(evaluation.to_json()))


def fail_for_last_part(part: int) -> int:
    """Return the part, or raise PellucidError for part 3, the last of four."""
    if part == 3:
        raise PellucidError("part 3 is broken")
    return part


if __name__ == "__main__":
    evaluate(Path(sys.argv[1]))
    try:
        list(processes().shared(range(4), fail_for_last_part))
    except PellucidError as error:
        sys.stdout.write(f"process {processes().rank}: {error}\n")  # one write, since both processes share the pipe
