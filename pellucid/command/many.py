"""Predict on many pictures in parts; any number of processes and machines computes the same results.

The parts are then merged into one file: JSON lines, CSV or Parquet.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.files import atomic_file, write_atomically
from pellucid.base.text import plural
from pellucid.command.out import OWN_ENGINE, print_result, to_json_types
from pellucid.command.parts import MANIFEST, Parts
from pellucid.command.progress import CountProgress
from pellucid.data.picture_list import PictureList, is_collection, picture_list
from pellucid.predictor import Picture, Predicted, Predictor, predictions_and_errors
from pellucid.run.folder import weights_file
from pellucid.training.device import usable_device

SUFFIXES = (".jsonl", ".csv", ".parquet")


def merge(result: Path, parts: Sequence[Path]) -> None:
    """Write the rows of all parts, in order, into a file whose suffix determines its format.

    At most one part is in memory. Raises PellucidError if the file cannot be written, or if pyarrow is missing for
    .parquet.
    """
    write_results = {".csv": _write_csv, ".parquet": _write_parquet}.get(result.suffix.lower(), _write_json_lines)
    with atomic_file(result) as file:
        write_results(file, parts)


def check_installed(result: Path) -> None:
    """Raise PellucidError if the result is a Parquet file and pyarrow is not installed."""
    if result.suffix.lower() == ".parquet":
        _import_pyarrow()


def _write_json_lines(file: BinaryIO, parts: Sequence[Path]) -> None:
    for part in parts:
        with part.open("rb") as lines:
            shutil.copyfileobj(lines, file)


def _write_csv(file: BinaryIO, parts: Sequence[Path]) -> None:
    columns = dict.fromkeys(name for part in parts for row in _read_rows(part) for name in row)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, [*columns], lineterminator="\n")
    writer.writeheader()
    for part in parts:
        writer.writerows(_read_rows(part))
    text.detach()


def _write_parquet(file: BinaryIO, parts: Sequence[Path]) -> None:
    arrow, parquet = _import_pyarrow()
    types_by_column: dict[str, set[type]] = {}
    for part in parts:
        for row in _read_rows(part):
            for name, value in row.items():
                types_by_column.setdefault(name, set()).add(type(value))
    column_types = {name: _column_type(value_types - {type(None)}) for name, value_types in types_by_column.items()}
    schema = arrow.schema([(name, arrow.type_for_alias(column_type)) for name, column_type in column_types.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in parts:
            rows = [
                {
                    name: _utf8_text(value) if column_types[name] == "string" and value is not None else value
                    for name, value in row.items()
                }
                for row in _read_rows(part)
            ]
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _utf8_text(value: Any) -> str:
    """Return a value as text that is valid UTF-8, with other bytes of file names escaped as `_write_csv` does."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _column_type(value_types: set[type]) -> str:
    """Return the type of a column whose values have these types."""
    if value_types <= {int, float} and value_types:
        return "float64" if float in value_types else "int64"
    return "bool" if value_types == {bool} else "string"


def _read_rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open("rb") as lines:
        yield from map(json.loads, lines)


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise PellucidError("a Parquet file needs pyarrow; pip install 'pellucid[parquet]', or give .jsonl") from error


RESULTS_FILE, PARTS_FOLDER, FILES_FOLDER = "results.jsonl", "parts", "files"  # in the output folder
MAX_NAME_LENGTH = 50  # characters of a picture's name in the names of its files
# Arguments that do not affect the results, or that `_job_settings` handles separately.
UNRELATED_ARGUMENTS = {"model", "source", "image", "camera", "out", "json", "device", "handle", "skip"}


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that torchrun started; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def are_results_in_parts(source: str | Sequence[str], out: str | None) -> bool:
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
    result, parts_folder, files_folder = _output_paths(args.out)
    check_installed(result)
    with (
        closing(picture_list(source)) as pictures,
        closing(Parts(parts_folder, result, pictures, _job_settings(args))) as parts,
    ):
        torch.set_num_threads(parts.threads)
        _finish_parts(parts, make_predictor, files_folder, args)
        if rank_and_world_size()[0] == 0:
            n_errors = sum(_count_errors(parts.file(number)) for number in range(parts.n_parts))
            values = {"model": args.model, "engine": OWN_ENGINE, **about, "results": str(result)}
            values |= {"pictures": len(pictures), "errors": n_errors}
            error_text = f", of which {n_errors:,} have an error in their row" if n_errors else ""
            print_result(args, values, f"wrote {result}: {plural(len(pictures), 'picture')}{error_text}")
    return 0


def _finish_parts(
    parts: Parts,
    make_predictor: Callable[[Path | None], Predictor],
    files_folder: Path | None,
    args: argparse.Namespace,
) -> None:
    """Predict on the parts that no other process works on, until all are done; then one process merges them."""
    pictures, result, (rank, world_size) = parts.pictures, parts.result, rank_and_world_size()
    predictor, as_table = make_predictor(None), result.suffix.lower() != ".jsonl"
    progress = CountProgress(rank == 0 and not args.json)
    for number in parts.claim_unfinished(rank, world_size):
        progress("predicted pictures", min(parts.count_done() * parts.part_size, len(pictures)), len(pictures))
        part_folder = (files_folder or result.parent) / parts.file(number).stem
        if files_folder is not None and predictor.writes_files:
            if part_folder.exists():
                shutil.rmtree(part_folder)  # files of a process that was killed
            predictor = make_predictor(part_folder)
        rows = _part_rows(predictor, pictures, parts.pictures_of(number), as_table)
        lines = [
            json.dumps(to_json_types(_with_relative_paths(row, part_folder, result.parent)), allow_nan=False)
            for row in rows
        ]
        write_atomically(parts.file(number), "".join(f"{line}\n" for line in lines).encode())
    progress.end()
    with parts.claim_result() as is_missing:
        if is_missing:
            merge(result, [parts.file(number) for number in range(parts.n_parts)])


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
    for picture, prediction in predictions_and_errors(predictor, _part_pictures(predictor, pictures, indices), {}, ""):
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
    def read(read_content: Callable[[], Path | bytes], where: str) -> Any:
        source = read_content()
        return predictor.read(source, where) if isinstance(source, bytes) else predictor.read(source)

    for k, read_content in zip(indices, pictures.contents(indices), strict=True):
        stem = re.split("[?#]", pictures.name(k))[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]
        plain_stem = re.sub(r"[^\w.-]", "_", stem)[:MAX_NAME_LENGTH]
        yield Picture(f"{k:06d}-{plain_stem}", pictures.name(k), partial(read, read_content, pictures.where(k)))


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
