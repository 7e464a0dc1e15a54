"""Recipes in TOML with damaged bytes, other values, and texts that cost a parser much."""

import random
from contextlib import suppress
from pathlib import Path

from benchmarks.fuzz.mutations import damage
from benchmarks.fuzz.records import remove
from pellucid.base.errors import PellucidError
from pellucid.recipe.recipe import load_recipe, parse_overrides
from pellucid.recipe.run_report.data import read_recipe
from pellucid.shipped_files import recipe_names
from pellucid.studio.runs import epochs_of

RECIPES = ("toml",)
_COUNTS = (1, 2, 8, 9, 16, 17, 33, 129, 1000, 10_001, 30_000, 300_000)
_VALUES = (
    "0", "-1", "1e400", "nan", "-inf", "9" * 20, "9" * 129, "9" * 5000, "0x" + "f" * 30, "1979-05-27", "[]", "{}",
    "[[]]", "{a = {}}", '"none"', "''", '"\\u0000"', '"\\ud800"', '"\\x1b"', "true", '["a", 1]', '"""\n\n"""', "1_000",
    "[", "{", '"', "'''", '"x" # ', "..", "1.", "{name = 'cosine'}", "{name = {name = 'cosine'}}", '"../../etc/passwd"',
)  # fmt: skip


def write_recipe(kind: str, path: Path) -> None:
    """Write the complete recipe of digits."""
    path.write_text(load_recipe("digits").to_toml())


def write_recipe_case(original: Path, path: Path, rng: random.Random) -> None:
    """Write a changed copy of a recipe, or a text of which one thing is very long, deep or often repeated."""
    remove(path)
    share = rng.random()
    if share < 0.3:
        path.write_bytes(damage(original.read_bytes(), rng))
    elif share < 0.7:
        lines = load_recipe(rng.choice(recipe_names())).to_toml().splitlines()
        for _ in range(rng.choice([1, 1, 2, 4])):
            _change_line(lines, rng)
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        path.write_text(_repeated(rng) + rng.choice(["", "\n" + original.read_text()]), encoding="utf-8")


def _change_line(lines: list[str], rng: random.Random) -> None:
    index, kind = rng.randrange(len(lines)), rng.randrange(6)
    key, equals, _ = lines[index].partition(" = ")
    if kind == 0:
        del lines[index]
    elif kind == 1:
        lines.insert(index, rng.choice([*lines, "[new]", "new = 1", "[[data]]", "[data.name]", "name.a.b = 1"]))
    elif kind == 2 and equals:
        lines[index] = f"{key}{rng.choice(['.a', '2', '', ' ', ' . b . c'])} = 1"
    elif equals:
        lines[index] = f"{key} = {rng.choice(_VALUES)}"


def _repeated(rng: random.Random) -> str:
    """Return a text in which one thing is repeated."""
    n, part = rng.choice(_COUNTS), rng.choice(["a", '"a"', "'a.b'", "0", "schedule", " a "])
    key = ".".join([part] * n)
    return rng.choice([
        f"{key} = 1", f"[{key}]", f"[[{key}]]", f"x = {{ {key} = 1 }}", f"[schedule{'.then' * n}]\nname = 'warmup'",
        "".join(f"[t{k}]\n" for k in range(n)), "[[t]]\n" * n, "".join(f"k{k} = 1\n" for k in range(n)),
        f"x = {'[' * n}{']' * n}", f"x = {'[' * n}", f"x = {'{a=' * n}1{'}' * n}", f"x = [{'1,' * n}]",
        f"x = [{'{},' * n}]", f"x = {'9' * n}", f"x = 0.{'9' * n}", f"{'k' * n} = 1", f'"{"k" * n}" = 1',
        f'x = "{"x" * n}"', f'x = "{chr(92)}n{"x" * n}"', f'x = """{chr(10) * n}"""', f'x = """{chr(92)}"""' * n,
        "'" * n, '"' * n, "=" * n, "." * n, "[" * n, "]" * n, "#" * n, "\n" * n, "#\n" * n, " " * n,
        "a " * n, "a=1\r\n" * n, f"[network]\nsizes = [{'3,' * n}]", f"[train]\nkeep = [{'1,' * n}]",
    ])  # fmt: skip


def use_recipe(path: Path) -> None:
    """Read the file in every way in which TOML is read; raises PellucidError if it is refused as a recipe."""
    run = path.with_name(f"{path.name}.run")
    run.mkdir(exist_ok=True)
    (run / "recipe.toml").write_bytes(path.read_bytes())
    epochs_of(run)
    with suppress(PellucidError):
        read_recipe(run / "recipe.toml")
    text = path.read_bytes()[:4000].decode("utf-8", "replace")
    if text.strip():
        parse_overrides([f"optimizer.lr={text}"])
    recipe = load_recipe(path)
    assert load_recipe(path).to_toml() == recipe.to_toml()
