"""Damaged weights files: opening raises a one-line error, or only values of tensors have changed."""

import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.weights import open_weights, require_match
from pellucid.weights.fault import FileFault
from pellucid.weights.opcodes import unpickle
from pellucid.weights.torchfile import views_of
from tests.pace import in_loop_durations
from tests.weights.damage import damaged_copies
from tests.weights.samples import FORMATS, SAMPLE_TENSORS, write_sample

FILES_PER_FORMAT = 200  # for each of the five formats


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_refused_or_read_as_valid(kind, tmp_path):
    """Formats other than the zip archive have no checksums, so damage inside tensor data only changes values."""
    intact = write_sample(kind, tmp_path / "whole").read_bytes()
    path = tmp_path / "damaged"
    max_seconds, outcomes = 0.0, list[str]()
    for data in damaged_copies(intact, FILES_PER_FORMAT, seed=len(kind)):
        start = time.process_time()
        outcomes.append(_read_outcome(path, data, kind))
        max_seconds = max(max_seconds, time.process_time() - start)
    assert len(outcomes) == FILES_PER_FORMAT
    assert in_loop_durations(max_seconds) < 200
    assert outcomes.count("refused") > FILES_PER_FORMAT // 2


def _read_outcome(path: Path, data: bytes, kind: str) -> str:
    path.write_bytes(data)
    try:
        tensors = open_weights(path)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 2 * len(data)
        require_match(path, SAMPLE_TENSORS, tensors)
    except PellucidError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert message.isprintable()
        return "refused"
    if kind == "zip":  # only unused bytes are damaged, such as padding and dates
        assert all(torch.equal(tensors[name], tensor) for name, tensor in SAMPLE_TENSORS.items())
    return "read"


def test_damaged_pickles_are_refused():
    """The checksums of an archive protect its pickle from the damage above, so the pickle itself is damaged here."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    buffer = io.BytesIO()
    torch.save({"state_dict": net.state_dict(), "optimizer": torch.optim.Adam(net.parameters()).state_dict()}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        intact = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    views_of(unpickle(intact).value, size=len(buffer.getvalue()))
    faults: list[str] = []
    for data in damaged_copies(intact, 1000, seed=1):
        try:
            views_of(unpickle(data).value, size=len(buffer.getvalue()))
        except FileFault as fault:
            faults.append(str(fault))
    assert len(faults) > 800
    assert all(fault.isprintable() for fault in faults)


PEAK_MEMORY_SCRIPT = """
import re, sys
from pathlib import Path
from pellucid.base.errors import PellucidError
from pellucid.weights import open_weights

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])  # of this process alone

for path in sys.argv[1:]:  # the first is whole and warms everything up
    if path == sys.argv[2]:
        before = peak()
    try:
        open_weights(path)
    except PellucidError:
        continue
    assert path == sys.argv[1], path
print((peak() - before) * 1024)
"""


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_hostile_files_take_little_memory(tmp_path):
    """The peak memory of a process rises by less than 300 MB while it opens hostile files."""
    files = [write_sample("zip", tmp_path / "whole")]
    hostile = {
        "lists": b"\x80\x02" + b"]" * 1_900_000 + b".",
        "marks": b"\x80\x02" + b"(" * 1_900_000 + b".",
        "huge text": b"\x80\x02\x8d" + b"\xff" * 7 + b"\x00.",
        "doubling": b"\x80\x02)" + b"q\x00h\x00\x86" * 50 + b".",
    }
    for name, stream in hostile.items():
        files.append(tmp_path / name)
        with zipfile.ZipFile(files[-1], "w") as archive:
            archive.writestr("a/data.pkl", stream)
    files.append(tmp_path / "bomb")
    with zipfile.ZipFile(files[-1], "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as member:
        for _ in range(400):
            member.write(bytes(1 << 20))
    files.append(tmp_path / "expanded")
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 19)}, files[-1])
    files.append(tmp_path / "onnx")
    body = b"\x0a\x00" * 500_000  # a million bytes of empty nodes
    files[-1].write_bytes(b"\x08\x08\x3a" + b"\xc0\x84\x3d" + body)
    files.append(tmp_path / "header")
    files[-1].write_bytes((1 << 31).to_bytes(8, "little") + b'{"a":')
    process = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY_SCRIPT, *map(str, files)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 300 << 20
