"""The sites of mutations: code that gradients pass through, found by following the calls of the backward passes."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Methods of layers, losses and combinators that compute gradients, from which the search starts, by folder.
ROOT_METHODS = {"layers": ("backward",), "losses": ("__call__", "compute"), "combine": ("backward", "sweep")}
ROOT_METHODS["fuse"] = ROOT_METHODS["combine"]
ROOT_METHODS["fuse/inference"] = ("__call__",)  # the form for inference has no backward pass; its outputs are checked
# Functions from which the search starts, too: the sweep over a network, and the folding of normalization.
ROOT_FUNCTIONS = (
    ("sweep.py", "backward"),
    ("fuse/inference/runs.py", "convolution"),
    ("fuse/inference/runs.py", "scale_and_shift"),
)
Code = ast.FunctionDef | ast.Assign


@dataclass(frozen=True)
class Site:
    """A function that gradients pass through, or a table of such functions.

    file: its path relative to the package. owners: the classes whose gradients pass through it.
    """

    file: str
    code: Code
    owners: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """The names of the function's parameters."""
        return (
            frozenset(arg.arg for arg in self.code.args.args) if isinstance(self.code, ast.FunctionDef) else frozenset()
        )


@dataclass(frozen=True)
class Module:
    """A file of the package: its classes and functions, and its imports from other files of the package."""

    package: Path
    file: str

    @cached_property
    def text(self) -> str:
        """The source."""
        return (self.package / self.file).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The source, parsed."""
        return ast.parse(self.text)

    @cached_property
    def classes(self) -> dict[str, dict[str, Code]]:
        """The methods of each class."""
        return {
            node.name: {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
            for node in self.tree.body
            if isinstance(node, ast.ClassDef)
        }

    @cached_property
    def functions(self) -> dict[str, Code]:
        """The functions outside classes, and the tables that contain lambdas."""
        code_by_name: dict[str, Code] = {}
        for node in self.tree.body:
            match node:
                case ast.FunctionDef():
                    code_by_name[node.name] = node
                case ast.AnnAssign(target=ast.Name(id=name), value=value) if value and has_lambda(value):
                    code_by_name[name] = ast.copy_location(ast.Assign([node.target], value), node)
        return code_by_name

    @cached_property
    def imports(self) -> dict[str, str]:
        """The names imported from other files of the package, with the paths of these files."""
        file_by_name = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{self.package.name}."):
                file = "/".join((node.module or "").split(".")[1:]) + ".py"
                file_by_name |= {alias.name: file for alias in node.names if (self.package / file).exists()}
        return file_by_name


def has_lambda(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Lambda) for part in ast.walk(node))


def live_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function that affect its result, without docstrings, annotations and raised errors."""
    yield node
    parts: list[ast.AST]
    match node:
        case ast.Raise() | ast.JoinedStr():
            parts = []
        case ast.FunctionDef(body=body) | ast.Try(body=body) | ast.With(body=body):
            parts = list(body)
        case ast.AnnAssign(value=value):
            parts = [value] if value else []
        case ast.keyword(arg="strict" | "dtype" | "device" | "memory_format"):
            parts = []
        case _:
            parts = list(ast.iter_child_nodes(node))
    for part in parts:
        if not is_ignored(part):
            yield from live_nodes(part)


def is_ignored(node: ast.AST) -> bool:
    """Return whether a statement is a string, or a check that only raises an error."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name))):
            return "check" in name  # functions that only raise errors
        case ast.If(body=[ast.Raise()], orelse=[]):
            return True
        case ast.If(body=[ast.Expr() as one], orelse=[]):
            return is_ignored(one)
    return False


def sites(package: Path) -> list[Site]:
    """Return all sites of the package, in the order of files and lines."""
    search = Search(package)
    for folder, roots in ROOT_METHODS.items():
        for path in sorted((package / folder).glob("*.py")):
            for kind, methods in search.module(f"{folder}/{path.name}").classes.items():
                search.follow(f"{folder}/{path.name}", kind, [root for root in roots if root in methods], kind)
    for file, name in ROOT_FUNCTIONS:
        if (package / file).exists():
            search.follow(file, "", [name], name)
    return [Site(place[0], code, frozenset(owners)) for place, (code, owners) in sorted(search.found.items())]


class Search:
    """The search for the functions that the backward passes of a package call."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.modules: dict[str, Module] = {}
        self.found: dict[tuple[str, int], tuple[Code, set[str]]] = {}

    def module(self, file: str) -> Module:
        """Return a file of the package."""
        return self.modules.setdefault(file, Module(self.package, file))

    def follow(self, file: str, kind: str, names: list[str], owner: str) -> None:
        """Add the functions `names` of a file, and all functions that they call, with `owner` as an owner.

        kind: the class of the functions; "" if they are not methods. A method of another class counts as called if its
        class is used and its name is accessed as an attribute.
        """
        pending = [(file, kind, name) for name in names]
        helpers: set[tuple[str, str]] = set()
        attributes: set[str] = set()
        seen: set[tuple[str, str, str]] = set()
        while pending:
            key = pending.pop()
            if key in seen:
                continue
            seen.add(key)
            file, kind, name = key
            code = (self.module(file).classes[kind] if kind else self.module(file).functions)[name]
            self.found.setdefault((file, code.lineno), (code, set()))[1].add(owner)
            for node in live_nodes(code):
                match node:
                    case ast.Attribute(value=value, attr=name):
                        attributes.add(name)
                        if (
                            isinstance(value, ast.Name)
                            and value.id == "self"
                            and name in self.module(file).classes[kind]
                        ):
                            pending.append((file, kind, name))
                    case ast.Name(id=name, ctx=ast.Load()):
                        home = self.module(self.module(file).imports.get(name, file))
                        if name in home.functions:
                            pending.append((home.file, "", name))
                        elif name in home.classes and not has_root_method(home.classes[name]):
                            helpers.add((home.file, name))
            pending += [
                (*helper, name)
                for helper in helpers
                for name in self.module(helper[0]).classes[helper[1]]
                if name in attributes
            ]


def has_root_method(methods: dict[str, Code]) -> bool:
    """Return whether a class computes gradients, so the search starts from it separately."""
    return any(root in methods for roots in ROOT_METHODS.values() for root in roots)
