"""Many pictures in parts: the rows of one process, for each task and source, resumed, and refused where they differ."""

import csv
import json
import multiprocessing
import os
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pellucid.base.files import write_atomically
from pellucid.cli.main import main
from pellucid.command import many, parts
from pellucid.data.picture_list import picture_list
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.portraits import face, hand
from pellucid.data.samples.scenes import street
from pellucid.model import Model
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow
N_PICTURES = 5  # pictures, of which number 3 is broken


def draw_digit(seed: int) -> Image.Image:
    picture = Image.new("L", (40, 40), 255)
    picture.paste(0, (10 + seed, 6, 14 + seed, 34))
    return picture


TASKS: dict[str, tuple[list[str], Callable[[int], Image.Image]]] = {
    "classes": (["predict", "signs"], lambda seed: hand(seed, 64)),
    "boxes": (["detect", "bccd", "--score", "0.3"], lambda seed: blood_smear(seed, 160, 120)[0]),
    "masks of objects": (["detect", "pennfudan"], lambda seed: blood_smear(seed, 96, 64)[0]),
    "masks": (["segment", "camvid"], lambda seed: street(seed, 96, 64)[0]),
    "points": (["keypoints", "faces"], lambda seed: face(seed, 64)[0]),
    "colours": (["colorize", "colorize", "--strength", "0.5"], lambda seed: street(seed, 96, 64)[0]),
    "maps": (["explain", "mnist-lenet", "--method", "saliency"], draw_digit),
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 2)
    monkeypatch.setattr(parts, "POLL_SECONDS", 0.05)


def write_folder(draw: Callable[[int], Image.Image], folder: Path) -> Path:
    for number in range(N_PICTURES):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)
    (folder / "b" / "3.png").write_bytes(b"no picture")
    return folder


def run_processes(count: int, words: list[str]) -> list[int | None]:
    """Run a command line in some processes that are forked from this one, with torchrun's variables."""
    context = multiprocessing.get_context("fork")

    def run(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
        os._exit(main(words))

    processes = [context.Process(target=run, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    return [process.exitcode for process in processes]


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def files_in(folder: Path) -> dict[str, bytes]:
    """The written files; pages name the folder and the version, and arrays the time."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix in (".png", ".json"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "task", [task if task == "classes" else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]
)
def test_rows_and_files_are_those_of_one_process(task: str, tmp_path: Path, capsys: Any) -> None:
    words, draw = TASKS[task]
    source = str(write_folder(draw, tmp_path / "in"))
    outs = {count: tmp_path / f"out{count}" for count in (1, 2, 3)}
    for count, out in outs.items():
        assert run_processes(count, [*words, source, "--out", str(out)]) == [0] * count
    table_rows = read_rows(outs[1] / "results.jsonl")
    names = sorted(str(file.relative_to(source)) for file in Path(source).rglob("*.png"))
    assert [row["image"] for row in table_rows] == names
    assert [row["image"] for row in table_rows if "error" in row] == ["b/3.png"]
    assert len([*(outs[1] / "parts").glob("part-*.jsonl")]) == 3
    for count in (2, 3):
        assert (outs[count] / "results.jsonl").read_bytes() == (outs[1] / "results.jsonl").read_bytes()
        assert files_in(outs[count] / "files") == files_in(outs[1] / "files")
    row_files = [Path(value) for row in table_rows for value in texts_in(row) if value.startswith("files/")]
    assert len(row_files) >= N_PICTURES - 1 or task == "classes"
    assert all((outs[1] / file).is_file() for file in row_files)
    out = capsys.readouterr()
    assert "Traceback" not in out.err


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


def test_rows_are_the_predictions_of_the_pictures(tmp_path: Path, cli: Cli) -> None:
    words, draw = TASKS["classes"]
    source = write_folder(draw, tmp_path / "in")
    assert cli(*words, str(source), "--out", str(tmp_path / "found.jsonl"), "--json").json == {
        **{"model": "signs", "engine": "pellucid", "results": str(tmp_path / "found.jsonl")},
        **{"pictures": N_PICTURES, "errors": 1},
    }
    model = Model.load("signs")
    for row in read_rows(tmp_path / "found.jsonl"):
        if "error" in row:
            assert "3.png is not an image that can be read" in row["error"]
        else:
            (prediction,) = model.predict(source / row["image"])
            assert (row["label"], row["probability"]) == (prediction.label, prediction.confidence)


@pytest.mark.slow
def test_all_sources_give_the_same_rows(tmp_path: Path, cli: Cli) -> None:
    words, draw = TASKS["boxes"]
    source = write_folder(draw, tmp_path / "in")
    names = sorted(str(file.relative_to(source)) for file in source.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive, tarfile.open(tmp_path / "in.tar", "w") as shard:
        for name in names:
            archive.write(source / name, name)
            shard.add(source / name, name)
    (source / "list.txt").write_text("\n".join(names))
    result = {}
    for kind in ("in.zip", "in.tar", "in/list.txt", "in"):
        out = tmp_path / f"{kind.replace('/', '-')}.jsonl"
        assert cli(*words, str(tmp_path / kind), "--out", str(out)).code == 0
        result[kind] = [{**row, "image": row["image"].removeprefix("in.tar:")} for row in read_rows(out)]
        assert result[kind][4].pop("error").startswith(str(tmp_path / "in"))
    assert result["in.zip"] == result["in.tar"] == result["in/list.txt"] == result["in"]


def test_pictures_of_a_bucket_are_predicted(tmp_path: Path, cli: Cli) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    source = write_folder(TASKS["points"][1], tmp_path / "in")
    for file in source.rglob("*.png"):
        memory.pipe(f"/many/{file.relative_to(source)}", file.read_bytes())
    try:
        for kind, out in (("memory://many", "a.jsonl"), (str(source), "b.jsonl")):
            assert cli("predict", "faces", kind, "--out", str(tmp_path / out)).code == 0
    finally:
        memory.store.clear()
    remote, local = read_rows(tmp_path / "a.jsonl"), read_rows(tmp_path / "b.jsonl")
    assert [row.pop("image") for row in remote] == [f"memory://many/{row.pop('image')}" for row in local]
    assert "memory://many/b/3.png is not an image" in remote[4].pop("error")
    assert local[4].pop("error")
    assert remote == local


@pytest.mark.slow
def test_tables_have_the_rows_of_the_command_for_few_pictures(tmp_path: Path, cli: Cli) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads and writes Parquet")
    source = tmp_path / "in"
    source.mkdir()
    for number in range(5):
        blood_smear(number, 160, 120)[0].save(source / f"{number}.png")
    Image.new("RGB", (64, 64)).save(source / "5.png")  # without objects
    for out in ("few.csv", "many.jsonl", "many.parquet"):
        assert cli("predict", "bccd", str(source), "--out", str(tmp_path / out)).code == 0
    (tmp_path / "in.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, file.name)
    assert cli("predict", "bccd", str(tmp_path / "in.zip"), "--out", str(tmp_path / "many.csv")).code == 0
    assert (tmp_path / "many.csv").read_text() == (tmp_path / "few.csv").read_text()
    table = parquet.read_table(tmp_path / "many.parquet").to_pylist()
    with (tmp_path / "few.csv").open(newline="") as text:
        expected = [*csv.DictReader(text)]
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in table] == expected
    assert len(read_rows(tmp_path / "many.jsonl")) == 6


def test_a_suffix_in_capitals_is_the_same_table(tmp_path: Path, cli: Cli) -> None:
    words, draw = TASKS["classes"]
    source = str(write_folder(draw, tmp_path / "in"))
    for name in ("a.jsonl", "b.JSONL"):
        assert cli(*words, source, "--out", str(tmp_path / name)).code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.JSONL").read_bytes()


def test_parquet_without_pyarrow_is_refused(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    write_folder(draw_digit, tmp_path / "in")
    result = cli("predict", "mnist-lenet", str(tmp_path / "in"), "--out", str(tmp_path / "a.parquet"))
    assert "needs pyarrow; pip install 'pellucid[parquet]'" in result.error_line
    assert not (tmp_path / "a.parquet.parts").exists()


@pytest.fixture
def job(tmp_path: Path, cli: Cli) -> tuple[list[str], Path]:
    """A finished job with masks, its command line and its folder."""
    words, draw = TASKS["masks"]
    words = [*words, str(write_folder(draw, tmp_path / "in")), "--out", str(tmp_path / "out")]
    assert run_processes(1, words) == [0]
    return words, tmp_path / "out"


def test_a_second_call_computes_only_missing_parts(job: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words, out = job
    whole, written = (out / "results.jsonl").read_bytes(), files_in(out / "files")
    (out / "parts" / "part-00001.jsonl").unlink()
    (out / "parts" / ".part-00002.jsonl.123.tmp").write_bytes(b'{"half')
    (out / "files" / "part-00001" / "000002-1.png").write_bytes(b"half")
    done: list[str] = []
    write = write_atomically
    monkeypatch.setattr(many, "write_atomically", lambda path, data: done.append(path.name) or write(path, data))
    result = cli(*words)
    assert (result.code, result.out) == (
        0,
        f"wrote {out / 'results.jsonl'}: 5 pictures, of which 1 have an error in their row\n",
    )
    assert done == ["part-00001.jsonl"]
    assert (out / "results.jsonl").read_bytes() == whole
    assert files_in(out / "files") == written
    assert not [*(out / "parts").glob(".*.tmp")]
    assert cli(*words).code == 0
    assert done == ["part-00001.jsonl"]


def test_results_do_not_exist_while_a_part_is_missing(job: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words, out = job
    (out / "parts" / "part-00002.jsonl").rename(out / "parts" / "part-00002.jsonl.bak")

    def raise_no_space(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(many, "write_atomically", raise_no_space)
    assert "no space left on device" in cli(*words).error_line
    assert not (out / "results.jsonl").exists()


def test_other_pictures_settings_and_models_are_refused(
    job: Any, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, out = job
    message = f"{out / 'parts'} was begun with another --crf; give another --out, or remove"
    assert message in cli(*words, "--crf").error_line
    source = tmp_path / "in"
    (source / "a" / "9.png").write_bytes((source / "a" / "2.png").read_bytes())
    assert "was begun with another list of pictures, number of pictures" in cli(*words).error_line
    (source / "a" / "9.png").unlink()
    assert cli(*words).code == 0
    manifest = out / "parts" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "model": "0" * 64}))
    assert "was begun with another model" in cli(*words).error_line
    manifest.write_text("{")
    assert "manifest.json cannot be read" in cli(*words).error_line
    manifest.unlink()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert "has parts but no manifest.json; give another --out" in cli(*words).error_line


def test_a_job_takes_the_threads_with_which_it_was_begun(job: Any, cli: Cli) -> None:
    words, out = job
    manifest = out / "parts" / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content["threads"] == torch.get_num_threads()
    manifest.write_text(json.dumps({**content, "threads": 2}))
    before = torch.get_num_threads()
    try:
        assert cli(*words).code == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_options_that_cannot_be_divided_are_refused(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_folder(draw_digit, tmp_path / "in"))
    (tmp_path / "hints.json").write_text("[]")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert "give their folder with --out DIR" in cli("predict", "mnist-lenet", source).error_line
    result = cli("predict", "mnist-lenet", source, "--out", str(tmp_path / "hints.json"))
    assert "hints.json/parts cannot be created" in result.error_line
    result = cli("colorize", "colorize", source, "--hints", str(tmp_path / "hints.json"), "--out", str(tmp_path / "c"))
    assert "is for few pictures" in result.error_line
    result = cli("explain", "mnist-lenet", source, "--out", str(tmp_path / "e.jsonl"))
    assert "explanations of many pictures are files" in result.error_line


@pytest.mark.slow
def test_malicious_archives_are_refused_and_bombs_are_rows_with_errors(tmp_path: Path, cli: Cli) -> None:
    with tarfile.open(tmp_path / "out.tar", "w") as shard:
        shard.addfile(tarfile.TarInfo("../../escaped.png"))
    with tarfile.open(tmp_path / "link.tar", "w") as shard:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        shard.addfile(link)
    for name in ("out.tar", "link.tar"):
        result = cli("predict", "mnist-lenet", str(tmp_path / name), "--out", str(tmp_path / "o"))
        assert f"{name} is not a tar archive that can be read" in result.error_line
    assert not (tmp_path / "o").exists()
    bomb = Image.new("1", (30_000, 30_000))  # 112 MB in memory, 100 kB on the disk
    bomb.save(tmp_path / "bomb.png")
    with tarfile.open(tmp_path / "bomb.tar", "w") as shard:
        shard.add(tmp_path / "bomb.png", "bomb.png")
        shard.add(tmp_path / "bomb.png", "$(touch x)`;'\x1b[31m <b>.png")
    assert cli("segment", "camvid", str(tmp_path / "bomb.tar"), "--out", str(tmp_path / "o")).code == 0
    table_rows = read_rows(tmp_path / "o" / "results.jsonl")
    assert len(table_rows) == 2
    assert all("30000x30000 pixels, above the limit" in row["error"] for row in table_rows)


def test_unusual_names_are_written_inside_the_folder(tmp_path: Path, cli: Cli) -> None:
    names = ["a b/ü?x=1#y.png", "a b/" + "l" * 200 + ".png", "-o.png", "c/d..png"]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for number, name in enumerate(names):
            street(number, 64, 48)[0].save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", name)
    assert cli("segment", "camvid", str(tmp_path / "in.zip"), "--out", str(tmp_path / "o")).code == 0
    table_rows = read_rows(tmp_path / "o" / "results.jsonl")
    assert [row["image"] for row in table_rows] == sorted(names)
    assert all((tmp_path / "o" / file).is_file() for row in table_rows for file in row["files"].values())
    assert {file.parent.name for file in (tmp_path / "o" / "files").rglob("*.png")} == {"part-00000", "part-00001"}


def test_a_process_that_never_started_is_not_waited_for(tmp_path: Path, cli: Cli, monkeypatch: Any) -> None:
    words, draw = TASKS["classes"]
    source = write_folder(draw, tmp_path / "in")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    result = cli(*words, str(source), "--out", str(tmp_path / "out"))
    assert (result.code, result.out, result.err) == (0, "", "")
    assert len(read_rows(tmp_path / "out" / "results.jsonl")) == N_PICTURES


def test_the_part_of_a_killed_process_is_taken_by_another(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(parts, "PATIENCE_SECONDS", 0.1)
    with closing(picture_list(str(write_folder(draw_digit, tmp_path / "in")))) as pictures:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def hold_first_part() -> None:
            job = parts.Parts(tmp_path / "parts", tmp_path / "all.jsonl", pictures, {})
            claimed = job.claim_unfinished(0, 2)
            sender.send(next(claimed))
            time.sleep(100)

        other = context.Process(target=hold_first_part)
        other.start()
        assert receiver.recv() == 0
        threading.Timer(0.5, other.kill).start()
        done = []
        with closing(parts.Parts(tmp_path / "parts", tmp_path / "all.jsonl", pictures, {})) as job:
            for number in job.claim_unfinished(0, 2):
                done.append((number, other.is_alive()))
                job.file(number).write_text("")
        other.join()
    assert done == [(1, True), (2, True), (0, False)]
    assert capsys.readouterr().err.count("still waiting for part-00000.jsonl of other processes") == 1


@pytest.mark.parametrize(("pictures", "expected"), [(1, 16), (1024, 16), (1025, 32), (20_000, 320), (10**6, 512)])
def test_parts_have_a_size_that_follows_from_the_number_of_pictures(
    pictures: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert parts.part_size(pictures) == expected
