"""Mutants: copies of files with one mistake each."""

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.operators import OPERATORS, Mutation
from benchmarks.mutants.sites import Site, live_nodes, sites

UNPARENTHESIZED = (
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.Subscript,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.Starred,
)


@dataclass(frozen=True)
class Mutant:
    """A file with one mistake in it.

    before, after: the lines that differ. owners: the classes whose gradients pass through them. text: the changed file.
    """

    name: str  # layers/conv2d.py:103 missing factor #2
    file: str  # path relative to the package
    operator: str
    function: str
    owners: frozenset[str]
    before: str
    after: str
    text: str


def mutants(package: Path) -> Iterator[Mutant]:
    """Yield all mutants of the package, in the same order in every run."""
    for site in sites(package):
        source = (package / site.file).read_text(encoding="utf-8")
        yield from mutants_of(site, source)


def mutants_of(site: Site, source: str) -> Iterator[Mutant]:
    """Yield the distinct mutants of one site that are valid Python."""
    seen_code = {"", parsed_code(site, source, source)}
    counts: Counter[tuple[int, str]] = Counter()
    for node in live_nodes(site.code):
        for operator, mutate in OPERATORS.items():
            for mutation in mutate(node, site.names):
                text, before, after = rewrite(source, mutation)
                code = parsed_code(site, source, text)
                if code in seen_code:
                    continue
                seen_code.add(code)
                line = min(old.lineno for old, _ in mutation)  # pyright: ignore[reportAttributeAccessIssue]
                counts[line, operator] += 1
                name = f"{site.file}:{line} {operator} #{counts[line, operator]}"
                function = getattr(site.code, "name", "")
                yield Mutant(name, site.file, operator, function, site.owners, before, after, text)


def parsed_code(site: Site, source: str, text: str) -> str:
    """Return a dump of the site's syntax tree in `text`, a changed `source`; "" if it is not valid Python."""
    lines, growth = text.splitlines(), text.count("\n") - source.count("\n")
    last = (site.code.end_lineno or site.code.lineno) + growth
    try:
        return ast.dump(ast.parse(textwrap.dedent("\n".join(lines[site.code.lineno - 1 : last]))))
    except SyntaxError:
        return ""


def rewrite(source: str, mutation: Mutation) -> tuple[str, str, str]:
    """Return the source after the edits, and the changed lines before and after them."""
    source_bytes = source.encode()  # column offsets of `ast` count bytes
    line_starts = [0]
    for line in source_bytes.splitlines(keepends=True):
        line_starts.append(line_starts[-1] + len(line))
    spans = []
    for old, new in mutation:
        text = ast.unparse(ast.fix_missing_locations(new))
        if isinstance(new, ast.expr) and not isinstance(new, UNPARENTHESIZED):
            text = f"({text})"
        begin = line_starts[old.lineno - 1] + old.col_offset  # pyright: ignore[reportAttributeAccessIssue]
        end = line_starts[old.end_lineno - 1] + old.end_col_offset  # pyright: ignore[reportAttributeAccessIssue]
        spans.append((begin, end, text.encode()))
    changed = source_bytes
    for begin, end, text in sorted(spans, reverse=True):
        changed = changed[:begin] + text + changed[end:]
    first = max(start for start in line_starts if start <= min(span[0] for span in spans))
    last = min(start for start in line_starts if start >= max(span[1] for span in spans))
    growth = len(changed) - len(source_bytes)
    before, after = source_bytes[first:last].decode(), changed[first : last + growth].decode()
    return changed.decode(), " ".join(before.split()), " ".join(after.split())
