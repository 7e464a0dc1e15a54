"""Evaluate shipped models on small folders, and print their results: run by tests, and torchrun.

`torchrun --nproc-per-node N -m tests.cli.evaluated FOLDER`, with the folder that `folders` has filled.
"""

import json
import sys
from pathlib import Path

from pellucid.cli.main import main
from pellucid.data.samples.written import write_samples
from pellucid.errors import PellucidError
from pellucid.training.distributed import processes
from tests.cli.test_train_own import coco

DATA = {
    "mnist-conv": "samples/digits",
    "bccd": "samples/cells",
    "pennfudan": "people",  # masks
    "faces": "samples/faces",
    "camvid": "samples/street",
    "colorize": "samples/shapes",
}


def folders(folder: Path) -> None:
    """Write the pictures of DATA, more than a chunk of each task's, with masks of one class for `pennfudan`."""
    write_samples(folder / "samples")
    (folder / "people").mkdir()
    values = json.loads((coco(folder / "people", points=False, count=10) / "annotations.json").read_text())
    annotations = [annotation for annotation in values["annotations"] if annotation["category_id"] == 0]
    values |= {"annotations": annotations, "categories": [{"id": 0, "name": "person"}]}
    (folder / "people/annotations.json").write_text(json.dumps(values))


def evaluate(folder: Path) -> None:
    """Print a line of JSON for each model, and write the page of one."""
    page = folder / f"page-of-{processes().count}.html"
    for model, data in DATA.items():
        more = ["--html", str(page)] if model == "bccd" else []
        assert main(["evaluate", model, "--data", str(folder / data), *more, "--json"]) == 0


def fail(part: int) -> int:
    """Raise PellucidError for the last of four parts."""
    if part == 3:
        raise PellucidError("part 3 is broken")
    return part


if __name__ == "__main__":
    evaluate(Path(sys.argv[1]))
    try:
        list(processes().shared(range(4), fail))
    except PellucidError as error:
        sys.stdout.write(f"process {processes().rank}: {error}\n")  # one write, since both share the pipe
