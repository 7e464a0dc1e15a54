"""Rules for all files: where gradients come from, at most 400 lines, no pickle."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = re.compile(r"requires_grad|autograd|\.backward\(\)|enable_grad|functorch|torch\.func\b|\bvjp\b|\bjvp\b")


def test_only_verify_differentiates_automatically() -> None:
    result = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "pellucid").rglob("*.py"))
        if path.parent != ROOT / "pellucid" / "verify"
        and path.name != "foreign.py"  # the names of PyTorch's attributes, with what replaces them
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert not result


def test_layers_and_operators_state_their_backward_pass_without_pytorchs_kernels_for_it() -> None:
    paths = [path for folder in ("layers", "operators") for path in sorted((ROOT / "pellucid" / folder).rglob("*.py"))]
    assert len(paths) > 50
    result = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if "backward" in (name := name_in_namespace(node)) and name != "backward"
    ]
    assert not result


def name_in_namespace(node: ast.AST) -> str:
    """Return the name that the code takes from an object or a module, such as aten, also by getattr; "" if none."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return ast.unparse(node.args[1])
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
        return " ".join(alias.name for alias in node.names)
    return ""


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
