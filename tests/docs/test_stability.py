"""The list of public names is complete; `python tests/docs/test_stability.py` writes the list."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pellucid

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES_FILE = DOCS / "public-names.txt"


def exported_names(module: ModuleType) -> list[str]:
    """Return `__all__` of a module or, if it has none, the public names that the module defines."""
    defined_names = [name for name, value in vars(module).items() if inspect.getmodule(value) is module]
    return [name for name in getattr(module, "__all__", defined_names) if not name.startswith("_")]


def public_names() -> list[str]:
    """Return the names of `pellucid` and of each module that a page of the API reference shows, sorted."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))
    documented_modules = re.findall(r"^::: (pellucid(?:\.[a-z_]+)+)$", pages, re.MULTILINE)
    modules = [name for name in documented_modules if name.removeprefix("pellucid.") not in pellucid.__all__]
    names = [f"{name}.{member}" for name in ["pellucid", *modules] for member in exported_names(import_module(name))]
    return sorted([*names, "pellucid.open"])  # `open` is not in `__all__`


def test_the_list_of_public_names_is_complete():
    listed_names = NAMES_FILE.read_text(encoding="utf-8").split()
    assert listed_names == public_names(), (
        "run `python tests/docs/test_stability.py`, and deprecate what would be removed"
    )


def test_every_documented_name_of_the_package_is_public():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    documented_names = re.findall(r"^::: pellucid\.([A-Z]\w+)$", pages, re.MULTILINE)
    assert set(documented_names) <= set(pellucid.__all__)


if __name__ == "__main__":
    NAMES_FILE.write_text("\n".join(public_names()) + "\n", encoding="utf-8")
