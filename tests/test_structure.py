"""Rules for the library's source, checked in syntax trees: names of tasks, imports, and replaced methods."""

import ast
import gc
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pellucid
from pellucid.task import tasks
from tools.tests_of import find_tests, nodes, syntax_tree

ROOT = Path(pellucid.__file__).parent
TASK_PACKAGES = ("tasks", "detectors", "generators")  # these define tasks and objectives
AMBIGUOUS_NAMES = {"keypoints", "l1"}  # keypoints: also a key of annotations and preprocessing; l1: also a norm
LESSONS_PACKAGE = "lessons"  # lessons may name networks and objectives
CLASS_CATALOGUES = {
    "DETECTOR_CLASSES",
    "GENERATOR_CLASSES",
}  # classes that a weights file may name, read by pellucid.run.described


@pytest.fixture(scope="module", autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Millions of nodes of syntax trees, none of them garbage, are searched again and again otherwise."""
    gc.disable()
    yield
    gc.enable()
    nodes.cache_clear()
    syntax_tree.cache_clear()


def parsed_files() -> Iterator[tuple[Path, list[ast.AST]]]:
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] not in (*TASK_PACKAGES, LESSONS_PACKAGE):
            yield path.relative_to(ROOT), nodes(path)


def task_and_objective_names() -> set[str]:
    """Return the names of tasks, of their objectives in recipes, and of the classes in TASK_PACKAGES."""
    classes = {
        node.name
        for room in TASK_PACKAGES
        for path in (ROOT / room).rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
    }
    return (
        classes | {name for task in tasks() for name in (task.name, task.model, *task.objectives())}
    ) - AMBIGUOUS_NAMES


def test_no_file_outside_imports_a_task_or_a_concrete_objective() -> None:
    result: list[str] = []
    for path, all_nodes in parsed_files():
        for node in all_nodes:
            if isinstance(node, ast.ImportFrom):
                modules = {node.module or ""}
                names = {alias.name for alias in node.names} - CLASS_CATALOGUES
            elif isinstance(node, ast.Import):
                modules = names = {alias.name for alias in node.names}
            else:
                continue
            concrete = any(module.startswith(tuple(f"pellucid.{room}" for room in TASK_PACKAGES)) for module in modules)
            result += [f"{path}, line {node.lineno}: {ast.unparse(node)}"] if concrete and names else []
    assert result == []


def test_no_file_outside_branches_on_the_name_of_a_task_or_an_objective() -> None:
    """With the test above, no file branches on a class either: isinstance and match need an import of the class."""
    names, result = task_and_objective_names(), list[str]()
    for path, all_nodes in parsed_files():
        for node in all_nodes:
            compared_nodes: list[ast.AST] = []
            if isinstance(node, ast.Compare):
                compared_nodes = [node.left, *node.comparators]
            elif isinstance(node, ast.Match):
                compared_nodes = [case.pattern for case in node.cases]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("hasattr", "getattr"):
                compared_nodes = node.args[1:2]
            texts = {one.value for part in compared_nodes for one in ast.walk(part) if isinstance(one, ast.Constant)}
            if texts & names:
                result.append(f"{path}, line {getattr(node, 'lineno', 0)}: {sorted(texts & names)}")
    assert result == []


TORCH_MODULES_FILE = "export/torch_code/modules.py"  # PyTorch modules named like the layers that they replace
DEFINED_TWICE = {
    "ElasticNet": "scikit-learn's estimator, and the regularizer of the same formula",
    "L1": "the loss and the regularizer, both called so in the literature",
    "Layer": "pellucid's, and that of the teaching library which a lesson writes",
}


def test_a_public_class_or_alias_is_defined_once() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        module_path = path.relative_to(ROOT).as_posix()
        for node in [] if module_path == TORCH_MODULES_FILE else syntax_tree(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            is_variable = isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("TypeVar(")
            aliases = [target.id for target in targets if isinstance(target, ast.Name) and not is_variable]
            names = [name for name in aliases if name[0].isupper() and not name.isupper()]
            for name in [node.name] if isinstance(node, ast.ClassDef) else names:
                if not name.startswith("_"):
                    places.setdefault(name, []).append(module_path)
    assert {name: result for name, result in places.items() if len(result) > 1 and name not in DEFINED_TWICE} == {}
    assert all(len(places[name]) == 2 for name in DEFINED_TWICE)


def import_graph() -> dict[str, set[str]]:
    """Return the modules that each module of the library imports, also in functions and for type checking only."""
    names = {".".join(("pellucid", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        direct = [alias.name for node in nodes(path) if isinstance(node, ast.Import) for alias in node.names]
        members = [
            (node.module or "", alias.name)
            for node in nodes(path)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        submodules = [f"{module}.{member}" if f"{module}.{member}" in modules else module for module, member in members]
        graph[name] = ({*direct, *submodules} & modules.keys()) - {name}
    return graph


def test_no_import_cycle_exists() -> None:
    """TopologicalSorter raises CycleError, which names the modules of a cycle."""
    graph = import_graph()
    order = list(TopologicalSorter(graph).static_order())
    assert len(order) == len(graph) > 600


# Base classes whose methods have a default that a subclass may replace, as their docstrings say.
INTERFACES = {
    "Callback", "FusedForm", "Layer", "Look", "Loss", "Metric", "Objective", "Optimizer", "Predictor",
    "Regularizer", "Schedule", "Task",
}  # fmt: skip
ALLOWED_REPLACEMENTS = {
    "Confusion.compute": "Precision, Recall and MacroF1 return a mean of the counts, Confusion the counts",
    "FolderTree.__init__": "listed files are not searched for in their folder",
    "ClassPredictor.predict_one": "of several labels, or of numbers, in place of one class",
    **{
        f"Classification.{name}": "of several labels, or of numbers, in place of one class"
        for name in (
            "baseline", "class_names", "evaluate", "example", "finish", "held_out", "predictor", "recipe_with",
            "report", "target_changes", "trains",
        )
    },
}  # fmt: skip


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}


def is_concrete(method: ast.FunctionDef) -> bool:
    body = [node for node in method.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    is_abstract = any(ast.unparse(decorator) == "abstractmethod" for decorator in method.decorator_list)
    return not is_abstract and bool(body) and not (len(body) == 1 and isinstance(body[0], ast.Raise))


def replaced_methods(all_nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the concrete methods that a subclass replaces without calling them, with the name of the subclass."""
    class_nodes = [node for node in all_nodes if isinstance(node, ast.ClassDef)]
    classes = {node.name: node for node in class_nodes}
    result: dict[str, str] = {}
    for node in class_nodes:
        bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
        ancestors: list[str] = []
        while bases:
            base = bases.pop(0)
            if base in classes and base not in ancestors:
                ancestors.append(base)
                bases += [ast.unparse(one).partition("[")[0].rpartition(".")[2] for one in classes[base].bases]
        for name, method in methods(node).items():
            owner = next((base for base in ancestors if name in methods(classes[base])), None)
            extends = f"super().{name}(" in ast.unparse(method)
            if owner and owner not in INTERFACES and is_concrete(methods(classes[owner])[name]) and not extends:
                result[f"{owner}.{name}"] = node.name
    return result


def test_subclasses_replace_no_concrete_method_but_defaults_of_interfaces() -> None:
    replaced = replaced_methods(node for path in ROOT.rglob("*.py") for node in nodes(path))
    assert {name: result for name, result in replaced.items() if name not in ALLOWED_REPLACEMENTS} == {}
    assert ALLOWED_REPLACEMENTS.keys() <= replaced.keys()


def test_a_replaced_method_is_found() -> None:
    source = """
class Base:
    def kept(self): return 1
    def replaced(self): return 1
    def extended(self): return 1
    @abstractmethod
    def abstract(self): ...
    def missing(self): raise NotImplementedError
class Middle(Base): pass
class Last(Middle):
    def replaced(self): return 2
    def extended(self): return super().extended() + 1
    def abstract(self): return 2
    def missing(self): return 2
"""
    assert replaced_methods(ast.walk(ast.parse(source))) == {"Base.replaced": "Last"}


def test_the_map_of_the_architecture_has_a_row_for_each_room() -> None:
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("| room") : page.index("What is plugged in")]
    first_cells = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    listed_rooms = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(listed_rooms) == sorted(rooms - {"__init__", "__main__"})


OTHER_TEST_FOLDERS = {  # folders of tests that are not those of a package in pellucid
    "conformance": "conformance",
    "docs": "docs",
    "doctor/bench": "benchmarks/doctor",
    "doctor/detection": "pellucid/tasks/detect/doctor",
    "mutants": "benchmarks/mutants",
    "own": "docs/your-own-parts.md",
    "scaling": "benchmarks/scaling",
}


def test_folders_of_tests_are_those_of_the_package_and_each_file_says_what_it_tests() -> None:
    tests = ROOT.parent / "tests"
    files = sorted(tests.rglob("test_*.py"))
    folders = {file.parent.relative_to(tests).as_posix() for file in files}
    result = [name for name in sorted(folders) if not (ROOT / name).is_dir() and name not in OTHER_TEST_FOLDERS]
    assert result == [], "name these folders of tests like the folders of pellucid that they test"
    assert [place for place in OTHER_TEST_FOLDERS.values() if not (ROOT.parent / place).exists()] == []
    assert [str(file) for file in files if not ast.get_docstring(syntax_tree(file))] == [], "say what these files test"


@pytest.mark.parametrize(
    ("module", "test_file"),
    [
        ("data/loader.py", "data/test_loader.py"),  # the module's name
        ("layers/conv2d.py", "layers/test_contract.py"),  # a name that the package exports, in its samples
        ("training/updater.py", "training/test_step.py"),  # by the module that imports it
        ("cli/predict.py", "cli/test_many_pictures.py"),  # by the word of a command
        ("command/pictures.py", "cli/test_many_pictures.py"),  # by that of a command that imports it, and the name
        ("opening/choice_calls.py", "opening/test_choice_calls.py"),
        *(
            (f"studio/{view}/session.py", f"studio/test_{view}.py")  # by its messages and the name of its folder
            for view in (path.parent.name for path in sorted(ROOT.glob("studio/*/session.py")))
        ),
        ("tasks/detect/command.py", "tasks/detect/test_detect.py"),  # by the command that it runs
        ("tasks/segment/predictor.py", "tasks/segment/test_segment.py"),
        ("layers/elu.py", "layers/test_contract.py"),
        ("losses/nll.py", "losses/test_losses.py"),  # by the cases of all losses
        ("data/annotations/labelme.py", "data/annotations/test_contract.py"),  # by its name in their samples
        ("combine/graph.py", "combine/test_contract.py"),
        *(  # by the name of a folder, or else by the tests of its modules
            (f"tasks/{task}/__init__.py", f"tasks/{test_file}.py")
            for task, test_file in {
                **{name: f"test_{name}" for name in ("classify", "generate", "translate")},
                **{name: f"{name}/test_{name}" for name in ("detect", "keypoints", "segment")},
                **{"colorize": "colorize/test_colorizer", "multilabel": "test_tables", "regress": "test_tables"},
            }.items()
        ),
        ("studio/serve/command.py", "studio/serve/test_serve.py"),
        ("detectors/yolo1.py", "detectors/test_families.py"),  # by the name in its docstring
    ],
)
def test_the_tests_of_a_module_are_found(module: str, test_file: str) -> None:
    tests = ROOT.parent / "tests"
    found = find_tests(ROOT / module)
    nearest = [file for file in found if file.parent == found[0].parent]
    assert tests / test_file in nearest
    assert all(file.name.startswith("test_") or file.is_dir() for file in found)
    assert test_file.startswith("cli") or found[0] == tests / test_file


@pytest.mark.parametrize("module", ["convolution", "cost", "detectors", "gan", "library", "overfitting", "trees"])
def test_functions_of_the_same_name_elsewhere_are_not_those_of_a_lesson(module: str) -> None:
    assert {file.parent.name for file in find_tests(ROOT / f"lessons/{module}.py")} == {"lessons"}


def test_a_test_that_sets_a_setting_tests_the_module_with_its_name() -> None:
    found = {file.name for file in find_tests(ROOT / "data/skipping.py")}
    assert "test_skip.py" in found
    assert "test_mask_formats.py" not in found  # which only looks for the name in a message


@pytest.mark.parametrize("path", ["pellucid/studio/draw/page/view.js", "tools/tests_of.py", "pellucid/no_such.py"])
def test_the_tests_of_other_files_are_refused_in_one_line(path: str) -> None:
    command = [sys.executable, "tools/tests_of.py", path]
    refused = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert re.fullmatch("give a module of .*\n", refused.stderr)
