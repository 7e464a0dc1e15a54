"""Each mutation operator makes the mutations expected by its name, and no others."""

import ast

import pytest

from benchmarks.mutants.mutant import rewrite
from benchmarks.mutants.operators import OPERATORS
from benchmarks.mutants.sites import live_nodes

pytestmark = pytest.mark.slow

EXPECTED: dict[str, list[tuple[str, list[str]]]] = {
    "wrong sign": [
        ("dx = a + b", ["dx = (a - b)"]),
        ("dx = a - b", ["dx = (a + b)"]),
        ("dx = dy * -a", ["dx = dy * a"]),
        ("return dx, {}", ["return (-dx), {}"]),
        ('return dx, {"weight": dw}', ['return (-dx), {"weight": dw}', 'return dx, {"weight": (-dw)}']),
    ],
    "missing factor": [
        ("dx = 2 * x", ["dx = 2", "dx = x"]),
        ("dx = dy / (h * w)", ["dx = dy", "dx = dy / (h)", "dx = dy / (w)"]),
        ("dx = x**2", ["dx = x"]),
    ],
    "missing term": [("dx = dy - y", ["dx = dy", "dx = y"])],
    "missing call": [
        ("dx = x.abs()", ["dx = x"]),
        ("dx = torch.exp(x)", ["dx = x"]),
        ("dx = torch.where(y > 0, dy, 0)", ["dx = dy", "dx = 0"]),
        ("dx = dy.sum(1, keepdim=True)", ["dx = dy"]),
    ],
    "partial sum": [
        ("dx = dy.sum(1, keepdim=True)", ["dx = dy.mean(1, keepdim=True)", "dx = dy.narrow(1, 0, 1)"]),
        ("db = dy.sum(0)", ["db = dy.mean(0)", "db = dy.select(0, 0)"]),
        ("dx = dy.mean((2, 3))", ["dx = dy.sum((2, 3))"]),
    ],
    "wrong axis": [
        ("dx = dy.sum(1)", ["dx = dy.sum(0)"]),
        ("dx = dy.mean((2, 3))", ["dx = dy.mean((2,))", "dx = dy.mean((3,))"]),
        ("dx = dy.sum(self.axis)", ["dx = dy.sum((self.axis - 1))"]),
        ("dx = torch.cat(x, 1)", ["dx = torch.cat(x, 0)"]),
        ("k = pair(self.kernel)", ["k = pair(self.kernel)[::-1]"]),
        ("k = (top, left)", ["k = (left, top)"]),
        ("n = x.shape[1]", ["n = x.shape[0]"]),
    ],
    "off by one": [
        ("k = pair(self.stride)", ["k = tuple((n + 1 for n in pair(self.stride)))", "k = (1, 1)"]),
        ("k = pair(self.padding)", ["k = tuple((n + 1 for n in pair(self.padding)))", "k = (0, 0)"]),
        ("dx = dx[:, top:bottom]", ["dx = dx[:, (top + 1):bottom]", "dx = dx[:, top:(bottom + 1)]"]),
    ],
    "wrong comparison": [
        ("m = y > 0", ["m = (y >= 0)"]),
        ("m = y < 6", ["m = (y <= 6)"]),
        ("m = a == b", ["m = (a != b)"]),
    ],
    "wrong constant": [
        ("dx = 2 * x", ["dx = 3 * x"]),
        ("dx = 1 - y", ["dx = 0 - y"]),
        ("dx = 0.5 * x", ["dx = 1.0 * x"]),
    ],
    "wrong flag": [
        (
            "dx = kernel(dy, self.ceil_mode, True)",
            ["dx = kernel(dy, (not self.ceil_mode), True)", "dx = kernel(dy, self.ceil_mode, False)"],
        ),
    ],
    "wrong branch": [
        ("dx = a if batch else b", ["dx = a if (not batch) else b"]),
        ("m = (a > 0) & (b > 0)", ["m = ((a > 0) | (b > 0))", "m = (a > 0)", "m = (b > 0)"]),
    ],
    "swapped arguments": [
        ("dx = kernel(dy, x, True)", ["dx = kernel(x, dy, True)"]),
        ("k = kernel(pair(self.stride), pair(self.padding))", ["k = kernel(pair(self.padding), pair(self.stride))"]),
        ("dx = dy @ w", ["dx = (w @ dy)"]),
    ],
    "swapped gradients": [
        ('return dx, {"weight": dw, "bias": db}', ['return dx, {"weight": db, "bias": dw}']),
        ("dx, dw = kernel(dy)", ["dw, dx = kernel(dy)"]),
    ],
    "dropped gradient": [
        ('return dx, {"bias": db}', ['return (dx * 0), {"bias": db}', 'return dx, {"bias": (db * 0)}'])
    ],
    "unchanged gradient": [("return dy * y, {}", ["return dy, {}"]), ("return dy, {}", [])],
    "missing step": [("dy = dy / 2", ["pass"]), ("total += dy", ["pass"]), ("t = x + dy", [])],
}


def mutated_lines(operator: str, line: str) -> list[str]:
    """Return the mutated lines that an operator makes of a line of a backward pass."""
    source = f"def backward(self, params, cache, dy):\n    {line}\n"
    (function,) = ast.parse(source).body
    mutations = [one for node in live_nodes(function) for one in OPERATORS[operator](node, frozenset({"params", "dy"}))]
    return [rewrite(source, mutation)[2] for mutation in mutations]


@pytest.mark.parametrize(
    ("operator", "line", "expected"),
    [(operator, line, expected) for operator, lines in EXPECTED.items() for line, expected in lines],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operator_makes_the_expected_mutations(operator: str, line: str, expected: list[str]) -> None:
    assert sorted(mutated_lines(operator, line)) == sorted(expected)


def test_every_operator_is_tested() -> None:
    assert EXPECTED.keys() == OPERATORS.keys()


def test_a_mutation_leaves_the_rest_of_the_file_unchanged() -> None:
    source = "# the é of μ\ndef f(dy):  # (N, C)\n    return (\n        dy * é(dy),  # first\n        {},\n    )\n"
    function = ast.parse(source).body[0]
    mutations = [one for node in live_nodes(function) for one in OPERATORS["missing factor"](node, frozenset())]
    changed, before, after = rewrite(source, mutations[0])
    assert changed == source.replace("dy * é(dy)", "dy")
    assert (before, after) == ("dy * é(dy), # first", "dy, # first")


@pytest.mark.parametrize(
    "line",
    ['"""Compute a + b."""', "raise ValueError(a + b)", "n: Tensor", "m = f(a, strict=True)", "if a > b: raise E"],
)
def test_documentation_types_and_raises_are_not_mutated(line: str) -> None:
    assert not [one for operator in OPERATORS for one in mutated_lines(operator, line)]
