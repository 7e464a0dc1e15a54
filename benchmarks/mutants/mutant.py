"""One broken copy of a file: what was changed in it, and its text."""

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.operators import OPERATORS, Mutation
from benchmarks.mutants.sites import Site, live, sites

ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred)


@dataclass(frozen=True)
class Mutant:
    """A file with one mistake in it.

    `before` and `after` are the lines that differ, `owners` the classes whose gradients pass through them.
    """

    name: str  # layers/conv2d.py:103 missing factor #2
    file: str  # below the package
    operator: str
    function: str
    owners: frozenset[str]
    before: str
    after: str
    text: str


def mutants(package: Path) -> Iterator[Mutant]:
    """Yield every mutant of the package, always the same ones in the same order."""
    for site in sites(package):
        source = (package / site.file).read_text(encoding="utf-8")
        yield from broken(site, source)


def broken(site: Site, source: str) -> Iterator[Mutant]:
    """Yield the mutants of one place that Python can read, no two of them the same."""
    seen = {"", meaning(site, source, source)}
    counts: Counter[tuple[int, str]] = Counter()
    for node in live(site.code):
        for operator, mutate in OPERATORS.items():
            for mutation in mutate(node, site.names):
                text, before, after = rewritten(source, mutation)
                means = meaning(site, source, text)
                if means in seen:
                    continue
                seen.add(means)
                line = min(old.lineno for old, _ in mutation)  # pyright: ignore[reportAttributeAccessIssue]
                counts[line, operator] += 1
                name = f"{site.file}:{line} {operator} #{counts[line, operator]}"
                function = getattr(site.code, "name", "")
                yield Mutant(name, site.file, operator, function, site.owners, before, after, text)


def meaning(site: Site, source: str, text: str) -> str:
    """Return what Python reads in the place after `source` became `text`; "" if it can read nothing."""
    lines, growth = text.splitlines(), text.count("\n") - source.count("\n")
    last = (site.code.end_lineno or site.code.lineno) + growth
    try:
        return ast.dump(ast.parse(textwrap.dedent("\n".join(lines[site.code.lineno - 1 : last]))))
    except SyntaxError:
        return ""


def rewritten(source: str, mutation: Mutation) -> tuple[str, str, str]:
    """Return the source after the edits, and the lines that they change, before and after."""
    raw = source.encode()  # positions in a line count bytes
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    spans = []
    for old, new in mutation:
        text = ast.unparse(ast.fix_missing_locations(new))
        if isinstance(new, ast.expr) and not isinstance(new, ATOMS):
            text = f"({text})"
        begin = starts[old.lineno - 1] + old.col_offset  # pyright: ignore[reportAttributeAccessIssue]
        end = starts[old.end_lineno - 1] + old.end_col_offset  # pyright: ignore[reportAttributeAccessIssue]
        spans.append((begin, end, text.encode()))
    changed = raw
    for begin, end, text in sorted(spans, reverse=True):
        changed = changed[:begin] + text + changed[end:]
    first = max(start for start in starts if start <= min(span[0] for span in spans))
    last = min(start for start in starts if start >= max(span[1] for span in spans))
    growth = len(changed) - len(raw)
    before, after = raw[first:last].decode(), changed[first : last + growth].decode()
    return changed.decode(), " ".join(before.split()), " ".join(after.split())
