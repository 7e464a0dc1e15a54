"""Print the files in tests that test a module, the nearest first: `python tools/tests_of.py pellucid/layers/conv2d.py`.

The nearest is the file with the module's name, tests/layers/test_conv2d.py, or else with its folder's, tests/studio/
test_draw.py for pellucid/studio/draw/session.py. The files that import the module or its names, or send its messages
such as "draw.open", follow, those of its folder tests/layers first; there, a string such as "predict" for
pellucid/cli/predict.py is enough. A file of samples is replaced by the tests that import it. Without any, the modules
that import the module take its place.
"""

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]  # of the checkout, also where tools is a link
MAX_PRINTED = 12


def module_name(path: Path) -> str:
    """Return the dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports or uses as attributes, and its strings in quotes."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(repr(node.value))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):  # layers.Conv2d, pellucid.open
            names.add(f"{'' if node.value.id == 'pellucid' else 'pellucid.'}{node.value.id}.{node.attr}")
    return names


def exported_names(path: Path) -> set[str]:
    """Return the dotted names of a module, of its names in the packages above it, and the messages it answers."""
    name = module_name(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined_names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    folders = [folder for folder in path.parents if folder.is_relative_to(ROOT / "pellucid")]
    packages = [module_name(folder / "__init__.py") for folder in folders]
    messages = {text for text in imported_names(path) if text.startswith(f"'{path.parent.name}.")}
    return {name, *messages, *(f"{package}.{defined}" for package in packages for defined in defined_names)}


def _test_folder(path: Path) -> Path:
    return ROOT / "tests" / path.relative_to(ROOT / "pellucid").parent


def _with_importers(found: list[Path], test_files: list[Path]) -> list[Path]:
    """Return the found files, with the tests that import them in place of files without tests, such as samples."""
    files, waiting = set[Path](), found
    while waiting:
        files |= {*waiting}
        helpers = {module_name(file) for file in waiting if not file.name.startswith("test_")}
        waiting = [file for file in test_files if file not in files and helpers & imported_names(file)]
    return sorted(file for file in files if file.name.startswith("test_"))


def find_tests(path: Path) -> list[Path]:
    """Return the files that test a module, the nearest first; its folder in tests if none imports it in any way."""
    folder = _test_folder(path)
    own_test = folder / f"test_{path.name}"
    folder_test = folder.with_name(f"test_{folder.name}.py")
    test_files = sorted(f for f in (ROOT / "tests").rglob("*.py") if f.name.startswith("test_") or f.parent == folder)
    modules, seen = [path], {path}
    while modules:
        names = set[str]().union(*map(exported_names, modules))
        same_names = {_test_folder(module) / f"test_{module.name}" for module in modules}
        words = {(_test_folder(module), repr(module.stem)) for module in modules}  # such as that of a command
        found = [
            file
            for file in test_files
            if file in same_names
            or names & imported_names(file)
            or any(file.parent == parent and word in imported_names(file) for parent, word in words)
        ]
        if found:
            found = _with_importers(found, test_files)
            n_used = {file: len(names & imported_names(file)) for file in found}
            return sorted(
                found,
                key=lambda f: (
                    *(f != own_test, f != folder_test, path.stem not in f.stem, f not in same_names),
                    *(f.parent != folder, -n_used[f]),
                ),
            )
        modules = [
            file
            for file in sorted((ROOT / "pellucid").rglob("*.py"))
            if file not in seen and names & imported_names(file)
        ]
        seen |= {*modules}
    return [folder]  # of a module that is only loaded by its name, as those of commands


if __name__ == "__main__":
    module = Path(sys.argv[1]).absolute()
    if not (module.is_file() and module.suffix == ".py" and module.is_relative_to(ROOT / "pellucid")):
        sys.exit(
            "give a module of pellucid/, such as pellucid/layers/conv2d.py; "
            "what the studio does in a browser is tested in tests/studio/test_*_browser.py"
        )
    files = find_tests(module)
    for file in files[:MAX_PRINTED]:
        print(file.relative_to(ROOT))
    if len(files) > MAX_PRINTED:
        print(f"and {len(files) - MAX_PRINTED} more")
