"""`tools/check_types.py`, part of `make check`, checks all code of the documentation and all public names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = """
import sys
from pathlib import Path

sys.path.insert(0, "tools")
import check_types
"""


def run_tool(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code after the import of the tool, in a new process, since the tool imports its neighbour by its name."""
    return subprocess.run([sys.executable, "-c", CHECK + code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_python_block_is_written_at_its_line(tmp_path: Path):
    process = run_tool(f"check_types.write_pages(Path({str(tmp_path)!r}))")
    assert process.returncode == 0, process.stderr
    for page in ("README.md", "docs/how-to/coming-from-pytorch.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        written = (tmp_path / re.sub("[/-]", "_", page)).with_suffix(".py").read_text(encoding="utf-8").splitlines()
        is_code, code = False, []
        for line in text.splitlines():
            is_code = line != "```" if is_code else line == "```python"
            code.append(line if is_code and line != "```python" else "")
        assert written == "\n".join(code).rstrip().split("\n")


def test_every_public_name_is_imported(tmp_path: Path):
    process = run_tool(f"check_types.write_imports(Path({str(tmp_path)!r}))")
    assert process.returncode == 0, process.stderr
    lines = re.findall("    from (.+) import (.+)", (tmp_path / "public_names.py").read_text(encoding="utf-8"))
    imported = [f"{module}.{name}" for module, names in lines for name in names.split(", ")]
    assert sorted(imported) == (ROOT / "docs/public-names.txt").read_text(encoding="utf-8").split()


@pytest.mark.slow
@pytest.mark.heavy
def test_both_checkers_report_names_that_are_not_exported(tmp_path: Path):
    code, wheel = tmp_path / "code", tmp_path / "wheel"
    code.mkdir()
    wheel.mkdir()
    (code / "good.py").write_text(
        "from pellucid import Conv2d, Dense, Flatten\n\nprint(Dense(3), Conv2d(3, 3), Flatten())\n"
    )
    (code / "bad.py").write_text("from pellucid import Densee\nfrom pellucid.model import BaseModel\n")
    paths = f"Path({str(code)!r}), check_types.environment(Path({str(wheel)!r})), Path({str(tmp_path / 'cache')!r})"
    process = run_tool(f"raise SystemExit(check_types.check({paths}))")
    assert process.returncode == 1, process.stderr
    errors = [line.strip() for line in process.stdout.splitlines() if re.search(r"\berror\b[:]? ", line)]
    assert errors
    assert not any("good.py" in error for error in errors)
    assert '"Densee" is unknown import symbol' in process.stdout  # pyright
    assert 'Module "pellucid" has no attribute "Densee"' in process.stdout  # mypy
    assert '"BaseModel" is not exported from module "pellucid.model"' in process.stdout  # pyright
    assert 'Module "pellucid.model" does not explicitly export attribute "BaseModel"' in process.stdout  # mypy
