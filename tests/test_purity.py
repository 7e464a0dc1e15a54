"""Rules for all files: automatic differentiation only in `verify`, at most 400 lines, no pickle."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = re.compile(r"requires_grad|autograd|\.backward\(\)|enable_grad|functorch|torch\.func\b|\bvjp\b|\bjvp\b")


def test_only_verify_differentiates_automatically() -> None:
    result = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "pellucid").rglob("*.py"))
        if path.parent != ROOT / "pellucid" / "verify"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert not result


def test_no_file_is_longer_than_400_lines() -> None:
    files = [path for part in ("pellucid", "tests", "benchmarks", "examples") for path in (ROOT / part).rglob("*.py")]
    assert len(files) > 100
    assert not [str(path) for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_nothing_is_read_by_pickle() -> None:
    unsafe = re.compile(
        r"\bpickle\.(?!dumps\()|\bfrom pickle\b|(?<!safetensors\.)torch\.load\(|\bjoblib\b|\bexec\((?!\W{2}\))|\beval\("
    )
    result = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "pellucid").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if unsafe.search(line)
    ]
    assert not result
