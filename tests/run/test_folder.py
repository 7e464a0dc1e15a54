"""Run folders: names, the lock, the manifest, and the files of models."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.run.folder import RunFolder, next_run, processor, weights_file
from pellucid.run.history import History
from tests.training.small import digits, small_mlp


def test_runs_are_numbered(tmp_path):
    assert [next_run(tmp_path / "runs", "xor").name for _ in range(3)] == ["xor-1", "xor-2", "xor-3"]
    assert next_run(tmp_path / "runs", "digits").name == "digits-1"


def test_concurrent_callers_get_different_run_numbers(tmp_path):
    names = []
    threads = [
        threading.Thread(target=lambda: names.extend(next_run(tmp_path, "a").name for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == sorted(f"a-{k}" for k in range(1, 81))


LOCK_SCRIPT = """
import sys
from pellucid.run.folder import RunFolder
with RunFolder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(PellucidError, match=f"{tmp_path} is in use by process {holder.pid}"):
        small_mlp().fit(digits(), epochs=1, batch_size=50, run=tmp_path, verbose=False)
    assert os.listdir(tmp_path / "weights") == []
    holder.kill()
    holder.communicate()
    history = small_mlp().fit(digits(), epochs=1, batch_size=50, run=tmp_path, verbose=False)
    assert isinstance(history, History)


@pytest.mark.parametrize("error_number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_reported_in_one_line(tmp_path, monkeypatch, error_number):
    n_open_files = len(os.listdir("/proc/self/fd"))

    def refuse(handle, operation):
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(PellucidError, match=f"{tmp_path} cannot be locked .*; choose a place on a local disk"):
        RunFolder(tmp_path).__enter__()
    assert len(os.listdir("/proc/self/fd")) == n_open_files


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path):
        raise ZeroDivisionError
    with RunFolder(tmp_path) as folder, pytest.raises(PellucidError, match="in use"), RunFolder(tmp_path):
        pass
    assert folder.path == tmp_path


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "weights").mkdir()
    for orphan in (tmp_path / ".metrics.csv.77.tmp", tmp_path / "weights" / ".last.safetensors.77.tmp"):
        orphan.write_bytes(b"half")
    with RunFolder(tmp_path):
        assert not list(tmp_path.rglob("*.tmp"))


def test_the_manifest_has_versions_threads_seed_and_checksums(tmp_path):
    (tmp_path / "recipe.toml").write_text("[recipe]\n")
    model, data, validation = small_mlp(seed=9), digits(), digits(300, 320)
    model.fit(
        data, epochs=1, batch_size=50, validation=validation, run=tmp_path, manifest={"recipe": "mine"}, verbose=False
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["torch"] == torch.__version__
    assert manifest["threads"] == torch.get_num_threads()
    assert manifest["seed"] == 9
    assert manifest["data"] == {"train": data.checksum, "validation": validation.checksum}
    assert manifest["recipe_sha256"] == hashlib.sha256(b"[recipe]\n").hexdigest()
    assert manifest["recipe"] == "mine"
    assert manifest["precision"] == "float32"
    assert manifest["cpu"] == processor()
    assert manifest["cpu"].endswith(f"({torch.backends.cpu.get_cpu_capability()})")
    assert {"pellucid", "python", "numpy", "platform", "device", "cpu", "started"} <= manifest.keys()
    model.fit(data, epochs=2, batch_size=50, validation=validation, run=tmp_path, resume=True, verbose=False)
    resumed = json.loads((tmp_path / "manifest.json").read_text())
    assert resumed.pop("resumed")[0]["torch"] == torch.__version__
    assert resumed == manifest


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_damaged_manifest_is_reported_in_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PellucidError, match=r"manifest\.json"):
        RunFolder(tmp_path).read_manifest()


def test_a_run_folder_that_cannot_be_created_is_reported_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PellucidError, match="cannot be written"), RunFolder(tmp_path / "file"):
        pass
    with pytest.raises(PellucidError, match="cannot be written"):
        next_run(tmp_path / "file", "a")


def test_the_error_for_a_picture_given_as_model_says_so(tmp_path):
    (tmp_path / "cat.PNG").write_bytes(b"")
    with pytest.raises(PellucidError, match=r"cat\.PNG is a picture, not a model; give a run folder"):
        weights_file(tmp_path / "cat.PNG")
