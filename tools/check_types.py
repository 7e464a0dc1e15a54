"""Type-check the code of the documentation with pyright and mypy, with the package from a wheel (part of `make check`).

The code is that of README.md, docs/index.md, docs/start.md and docs/how-to/*.md, one file a page, and a file that
imports every public name. The package is a wheel in a new environment, so that the checkers treat it as installed:
they then report names that the package imports without exporting them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from walk_docs import PAGES, ROOT, environment, steps_of

PUBLIC_NAMES = ROOT / "docs/public-names.txt"
# Packages without type information are not an error of the code that imports them.
MYPY_OPTIONS = ("--no-implicit-reexport", "--disable-error-code", "import-untyped")


def write_pages(folder: Path) -> None:
    """Write the Python blocks of each page into one file, which keeps the numbers of the lines."""
    for page in PAGES:
        lines: list[str] = []
        for step in steps_of(page):
            if step.kind == "python":
                lines += step.text.splitlines()[len(lines) :]
        if lines:
            name = page.removesuffix(".md").replace("/", "_").replace("-", "_")
            (folder / f"{name}.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_imports(folder: Path) -> None:
    """Write a file that imports every name in docs/public-names.txt."""
    names_by_module: dict[str, list[str]] = defaultdict(list)
    for public_name in PUBLIC_NAMES.read_text(encoding="utf-8").split():
        module, _, name = public_name.rpartition(".")
        names_by_module[module].append(name)
    # Each module is imported in a function of its own, since two modules may have the same name for different things.
    functions = [
        f"def import_{module.replace('.', '_')}() -> None:\n    from {module} import {', '.join(names)}\n"
        for module, names in names_by_module.items()
    ]
    (folder / "public_names.py").write_text("\n\n".join(functions), encoding="utf-8")


def check(folder: Path, python: Path, cache: Path) -> int:
    """Check the files of a folder with both checkers; return 0 if neither reports an error, else 1."""
    # Without a list of excluded folders, pyright would exclude those whose names begin with a dot.
    (folder / "pyrightconfig.json").write_text(json.dumps({"include": ["."], "exclude": []}), encoding="utf-8")
    commands = (
        ["pyright", "--pythonpath", str(python)],
        ["mypy", "--python-executable", str(python), "--cache-dir", str(cache.resolve()), *MYPY_OPTIONS, "."],
    )
    # PYTHONPATH could add the checkout to the environment.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    codes = [
        subprocess.run([sys.executable, "-m", *words], cwd=folder, env=variables, check=False).returncode
        for words in commands
    ]
    return int(any(codes))


def main() -> int:
    """Check the documentation's code; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / ".venv/mypy", help="the folder of mypy's cache")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as wheel_folder, tempfile.TemporaryDirectory() as folder:
        write_pages(Path(folder))
        write_imports(Path(folder))
        return check(Path(folder), environment(Path(wheel_folder)), args.cache)


if __name__ == "__main__":
    sys.exit(main())
