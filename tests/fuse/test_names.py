"""The file of a layer names its fused forms, and the file of a fused form names its tests."""

import ast
import re
from importlib import import_module
from inspect import getfile
from pathlib import Path

import pytest

import pellucid
from pellucid.combine import Parallel, Sequential
from pellucid.combine.base import walk
from pellucid.fuse import fuse
from pellucid.fuse.dense_block import DenseBlock
from pellucid.fuse.recompute import NormActConv
from pellucid.layers import AvgPool2d, BatchNorm, Concat, Conv2d, Dense, Layer
from pellucid.operators import Attention
from tests.fuse.test_exact_types import fusible_networks
from tests.layers.samples import SAMPLES

PACKAGE = Path(pellucid.__file__).parent
FORMS = re.compile(r"([\w ,]+) \((fuse/[\w/]+)\.py\)")
WITHOUT_TESTS = ("__init__.py", "context.py")


def docstring(path: Path) -> str:
    return " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split())


def named_forms(path: Path) -> dict[str, str]:
    """Return the module of each fused form that a file names, by the form's name."""
    text = docstring(path).partition("Fused form")[2]
    return {
        name: f"pellucid.{file.replace('/', '.')}"
        for names, file in FORMS.findall(text)
        for name in re.findall(r"\b[A-Z]\w+", names)
    }


@pytest.mark.parametrize("layer", [*(sample.layer for sample in SAMPLES), Attention()], ids=repr)
def test_the_file_of_a_layer_names_its_fused_forms(layer: Layer) -> None:
    layers: list[Layer] = [fuse(layer), *fuse(Sequential(Dense(2), layer)).layers.values()]
    forms = {type(layer).__name__ for layer in layers if type(layer).__module__.startswith("pellucid.fuse")}
    assert forms - {"FusedDense", "FusedSequential"} <= named_forms(Path(getfile(type(layer)))).keys()


def replaced_together(form: Layer) -> set[type[Layer]]:
    """Return the types of the layers that a form replaces, if it replaces several layers."""
    if isinstance(form, NormActConv):
        return {BatchNorm, form.act, Conv2d} | (set() if form.pool is None else {AvgPool2d})
    if isinstance(form, DenseBlock):
        return {BatchNorm, Conv2d, Concat, Parallel, *(layer.act for layer in form.dense_layers)}
    return set()


@pytest.mark.parametrize("net", [pytest.param(net, id=name) for name, net in fusible_networks().items()])
def test_the_files_of_layers_name_the_forms_that_replace_several_layers(net: Layer) -> None:
    for _, form in walk(fuse(net)):
        for kind in replaced_together(form):
            assert type(form).__name__ in named_forms(Path(getfile(kind)))


def test_the_fused_forms_that_files_name_exist() -> None:
    paths = [path for folder in ("layers", "combine", "operators") for path in (PACKAGE / folder).glob("*.py")]
    forms = {name: module for path in paths for name, module in named_forms(path).items()}
    assert len(forms) > 20
    assert [name for name, module in forms.items() if not hasattr(import_module(module), name)] == []


def test_the_file_of_a_fused_form_names_its_tests() -> None:
    paths = [path for path in (PACKAGE / "fuse").rglob("*.py") if path.name not in WITHOUT_TESTS]
    for path in paths:
        tests = re.findall(r"tests/[\w/]+\.py", docstring(path).partition("Tests: ")[2])
        assert tests, path
        assert all((PACKAGE.parent / test).is_file() for test in tests), path
