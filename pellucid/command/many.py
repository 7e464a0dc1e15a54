"""Predict on many pictures in parts; any number of processes and machines computes the same results."""

import argparse
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.text import plural
from pellucid.command.merge_results import SUFFIXES, check_installed, merge
from pellucid.command.out import ENGINE, plain, print_result
from pellucid.command.parts import MANIFEST, Parts
from pellucid.command.progress import CountProgress
from pellucid.data.picture_list import PictureList, is_collection, picture_list
from pellucid.predictor import Picture, Predicted, Predictor, outcomes
from pellucid.run.folder import weights_file
from pellucid.training.device import usable_device

RESULTS_FILE, PARTS_FOLDER, FILES_FOLDER = "results.jsonl", "parts", "files"  # in the output folder
MAX_NAME_LENGTH = 50  # characters of a picture's name in the names of its files
# Arguments that do not affect the results, or that `_job_settings` handles separately.
UNRELATED_ARGUMENTS = {"model", "source", "image", "camera", "out", "json", "device", "handle", "skip"}


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that torchrun started; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_in_parts(source: str | Sequence[str], out: str | None) -> bool:
    """Return whether results are written in parts.

    They are if torchrun started this process, if a source is an archive, a list or an address, if `out` is a .jsonl or
    .parquet file, and if `out` already has parts.
    """
    sources = [source] if isinstance(source, str) else source
    has_parts = out is not None and (_output_paths(out)[1] / MANIFEST).exists()
    is_table = out is not None and Path(out).suffix.lower() in SUFFIXES and not out.lower().endswith(".csv")
    return {"RANK", "WORLD_SIZE"} <= {*os.environ} or has_parts or is_table or any(map(is_collection, sources))


def predict_in_parts(
    args: argparse.Namespace,
    source: str | Sequence[str],
    make_predictor: Callable[[Path | None], Predictor],
    **about: Any,
) -> int:
    """Predict on all pictures of a source that are not done yet, merge the results, and return the exit code.

    make_predictor: a function of a folder, or None, that returns a predictor which writes its files into the folder.
    about: additional values of the printed JSON. The row of a picture that cannot be read contains the error. Raises
    PellucidError without --out, and if the parts in --out were begun with another model, other pictures or settings.
    """
    if args.out is None:
        raise PellucidError("results for many pictures are files; give their folder with --out DIR")
    result, folder, files = _output_paths(args.out)
    check_installed(result)
    with (
        closing(picture_list(source)) as pictures,
        closing(Parts(folder, result, pictures, _job_settings(args))) as parts,
    ):
        torch.set_num_threads(parts.threads)
        _finish_parts(parts, make_predictor, files, args)
        if rank_and_world_size()[0] == 0:
            errors = sum(_count_errors(parts.file(number)) for number in range(parts.count))
            values = {"model": args.model, "engine": ENGINE, **about, "results": str(result)}
            values |= {"pictures": len(pictures), "errors": errors}
            error_text = f", of which {errors:,} have an error in their row" if errors else ""
            print_result(args, values, f"wrote {result}: {plural(len(pictures), 'picture')}{error_text}")
    return 0


def _finish_parts(
    parts: Parts, make_predictor: Callable[[Path | None], Predictor], files: Path | None, args: argparse.Namespace
) -> None:
    """Predict on the parts that no other process works on, until all are done; then one process merges them."""
    pictures, result, (rank, count) = parts.pictures, parts.result, rank_and_world_size()
    predictor, as_table = make_predictor(None), result.suffix.lower() != ".jsonl"
    progress = CountProgress(rank == 0 and not args.json)
    for number in parts.claim_unfinished(rank, count):
        progress("predicted pictures", min(parts.count_done() * parts.size, len(pictures)), len(pictures))
        part_folder = (files or result.parent) / parts.file(number).stem
        if files is not None and predictor.writes_files:
            if part_folder.exists():
                shutil.rmtree(part_folder)  # files of a process that was killed
            predictor = make_predictor(part_folder)
        rows = _part_rows(predictor, pictures, parts.pictures_of(number), as_table)
        lines = [
            json.dumps(plain(_with_relative_paths(row, part_folder, result.parent)), allow_nan=False) for row in rows
        ]
        write_atomically(parts.file(number), "".join(f"{line}\n" for line in lines).encode())
    progress.end()
    with parts.finish() as is_missing:
        if is_missing:
            merge(result, [parts.file(number) for number in range(parts.count)])


def _output_paths(out: str) -> tuple[Path, Path, Path | None]:
    """Return the file of the results, the folder of the parts, and the folder of the predictor's files.

    The latter is None if `out` is a file of results.
    """
    path = Path(out)
    if path.suffix.lower() in SUFFIXES:
        return path, path.with_name(f"{path.name}.{PARTS_FOLDER}"), None
    return path / RESULTS_FILE, path / PARTS_FOLDER, path / FILES_FOLDER


def _job_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that results depend on in addition to the pictures: model, device and arguments."""
    with weights_file(args.model).open("rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()
    options = {
        f"--{name}": value
        for name, value in vars(args).items()
        if name not in UNRELATED_ARGUMENTS and value is not None
    }
    return {"model": model, "device": usable_device(args.device or "cpu").type, **options}


def _part_rows(
    predictor: Predictor, pictures: PictureList, indices: Sequence[int], as_table: bool
) -> list[Mapping[str, Any]]:
    """Return the rows of a part: the values of each picture, or the rows of a table."""
    values: list[Mapping[str, Any]] = []
    rows: list[Mapping[str, Any]] = []
    for picture, prediction in outcomes(predictor, _part_pictures(predictor, pictures, indices), {}, ""):
        if isinstance(prediction, Predicted):
            values.append(prediction.values)
            rows += prediction.table() if as_table else [prediction.values]
        else:
            rows.append({"image": picture.file, "error": str(prediction)})
    if values:
        predictor.finish(values)
    return rows


def _part_pictures(
    predictor: Predictor, pictures: PictureList, indices: Sequence[int]
) -> Generator[Picture, None, None]:
    def read(content: Callable[[], Path | bytes], where: str) -> Any:
        source = content()
        return predictor.read(source, where) if isinstance(source, bytes) else predictor.read(source)

    for k, content in zip(indices, pictures.contents(indices), strict=True):
        stem = re.split("[?#]", pictures.name(k))[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]
        plain_stem = re.sub(r"[^\w.-]", "_", stem)[:MAX_NAME_LENGTH]
        yield Picture(f"{k:06d}-{plain_stem}", pictures.name(k), partial(read, content, pictures.where(k)))


def _with_relative_paths(value: Any, outputs: Path, folder: Path) -> Any:
    """Return JSON values with paths below `outputs` made relative to `folder`, so the folder may be moved."""
    if isinstance(value, Mapping):
        return {key: _with_relative_paths(item, outputs, folder) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_relative_paths(item, outputs, folder) for item in value]
    is_below = isinstance(value, str) and value.startswith(f"{outputs}{os.sep}")
    return Path(value).relative_to(folder).as_posix() if is_below else value


def _count_errors(part: Path) -> int:
    """Return the number of pictures in a part that could not be read."""
    with part.open("rb") as lines:
        candidate_rows: Iterator[Any] = (json.loads(line) for line in lines if b'"error": ' in line)
        return sum(row.keys() == {"image", "error"} for row in candidate_rows)
