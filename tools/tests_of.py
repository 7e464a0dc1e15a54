"""Print the files in tests that test a module, the nearest first: `python tools/tests_of.py pellucid/layers/conv2d.py`.

The nearest is the file with the module's name, tests/layers/test_conv2d.py, or else with its folder's, tests/studio/
test_draw.py for pellucid/studio/draw/session.py, or the test_contract.py of its folder. The files that import the
module or its names, send its messages such as "draw.open", or run its command, `main(["predict", ...])`, follow, those
that use most of it first. A file of samples is replaced by the tests that import it. Without any, the modules that
import the module take its place. The `__init__.py` of a folder is tested by the tests of the folder's modules.
"""

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]  # of the checkout, also where tools is a link
MAX_PRINTED = 12
RUNNERS = {"main", "run", "cli"}  # functions of tests that run a command
COMMAND_MODULES = {"command", "predictor", "report"}  # in the folder of a command


def module_name(path: Path) -> str:
    """Return the dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def syntax_tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of the syntax tree of a file."""
    return [*ast.walk(syntax_tree(path))]


@cache
def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports or uses as attributes, its strings in quotes, and "run COMMAND"."""
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
            arguments = node.args[0].elts if node.args and isinstance(node.args[0], ast.List | ast.Tuple) else node.args
            words = [text.value for text in arguments[:2] if isinstance(text, ast.Constant)]
            names |= {f"run {word}" for word in words[: 2 if words[:1] == ["train"] else 1]}
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            setting, equals, _ = node.value.partition("=")  # of a recipe, such as "data.skip=true"
            names |= {repr(node.value), f"{setting!r}{equals}"}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):  # layers.Conv2d, pellucid.open
            names.add(f"{'' if node.value.id == 'pellucid' else 'pellucid.'}{node.value.id}.{node.attr}")
    return names


@cache
def exported_names(path: Path) -> set[str]:
    """Return the dotted names of a module, and of its names in the packages that offer them, and its messages."""
    name = module_name(path)
    tree = syntax_tree(path)
    defined_names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    defined_names += [target.id for target in targets if isinstance(target, ast.Name)]
    folders = [folder for folder in path.parents if folder.is_relative_to(ROOT / "pellucid")]
    packages = [module_name(folder / "__init__.py") for folder in folders]
    messages = {text for text in imported_names(path) if text.startswith(f"'{path.parent.name}.") and text[-1] == "'"}
    if ROOT / "pellucid/studio" not in path.parents:  # not messages, but settings
        messages = {f"{text}=" for text in messages}
    commands = {f"run {path.stem}"} if folders[0].name == "cli" else set[str]()
    if path.stem in COMMAND_MODULES:
        commands = {f"run {path.parent.name}"}
    names = {name, *messages, *commands}
    for folder, package in zip(folders, packages, strict=True):  # which may have another object of the same name
        offered = set[str]().union(*map(imported_names, folder.glob("__init__.py*")))
        sources = (name, *packages)
        names |= {
            f"{package}.{defined}"
            for defined in defined_names
            if package == name or any(f"{source}.{defined}" in offered for source in sources)
        }
    return names


def _docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").lower()


def _test_folder(path: Path) -> Path:
    return ROOT / "tests" / path.relative_to(ROOT / "pellucid").parent


def _uses(modules: list[Path], names: set[str], test_files: list[Path]) -> dict[Path, float]:
    """Return for each test how many of the names it uses, itself or by a file without tests, such as samples."""
    n_uses = {file: float(len(names & imported_names(file))) for file in test_files}
    words = {(_test_folder(module), repr(module.stem)) for module in modules}  # such as the name of a format
    for folder, word in words:
        for file in test_files:
            n_uses[file] += file.parent == folder and word in imported_names(file)
    endings = {name: f"{module.stem}." for module in modules for name in [module_name(module)]}
    for file in filter(n_uses.get, test_files):  # of those that use as many names, the one that uses them most often
        source = file.read_text(encoding="utf-8")
        counts = [source.count(endings.get(name, name.rpartition(".")[2])) for name in names & imported_names(file)]
        n_uses[file] += 1 - 1 / (1 + sum(counts))
    waiting = [file for file in test_files if n_uses[file]]
    while waiting:
        helper = waiting.pop()
        users = [] if helper.name.startswith("test_") else test_files
        for file in users:
            if module_name(helper) in imported_names(file) and n_uses[file] < n_uses[helper]:
                n_uses[file] = n_uses[helper]
                waiting.append(file)
    return {file: n for file, n in n_uses.items() if n and file.name.startswith("test_")}


def find_tests(path: Path) -> list[Path]:
    """Return the files that test a module, the nearest first; its folder in tests if none imports it in any way."""
    folder = _test_folder(path)
    stem = path.parent.name if path.name == "__init__.py" else path.stem
    own_test = folder / f"test_{path.name}"
    folder_tests = {folder.with_name(f"test_{folder.name}.py"), folder / f"test_{folder.name}.py"}
    shared_tests = folder_tests | {folder / "test_contract.py"}
    test_files = sorted(f for f in (ROOT / "tests").rglob("*.py") if f.name.startswith("test_") or f.parent == folder)
    modules, seen = [path], {path}
    while modules:
        is_package = [module.name for module in modules] == ["__init__.py"]
        names = set[str]().union(*map(exported_names, modules[0].parent.glob("*.py") if is_package else modules))
        same_names = {_test_folder(module) / f"test_{module.name}" for module in modules} & {*test_files}
        n_uses = dict.fromkeys(same_names, 0.0) | _uses(modules, names, test_files)
        if n_uses or (is_package and folder_tests & {*test_files}):
            n_uses = dict.fromkeys(shared_tests & {*test_files}, 0.0) | n_uses
            return sorted(
                n_uses,
                key=lambda f: (
                    *(f != own_test, f not in folder_tests or not (n_uses[f] or is_package), f.parent != folder),
                    *(f != folder / "test_contract.py" or not n_uses[f], stem not in f.stem, f not in same_names),
                    *(-int(n_uses[f]), stem.rstrip("0123456789") not in _docstring(f), -n_uses[f]),
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
