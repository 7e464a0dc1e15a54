"""Formulas of sizes in files of PyTorch: limits before SymPy evaluates them."""

import random
import time

import pytest
import sympy
from torch.utils._sympy import functions as torch_functions

from pellucid.opening import size_formulas
from pellucid.opening.size_formulas import check_computed_sizes, check_formulas
from pellucid.weights.fault import FileFault
from tests.pace import in_loop_durations

SYMBOL = "Symbol('s77', positive=True, integer=True)"
FUNCTIONS = {name: getattr(torch_functions, name) for name in ("FloorDiv", "CeilDiv", "PythonMod", "Mod")}
VALID = [
    SYMBOL,
    "Symbol('u0', integer=True)",
    "Integer(-1)",
    "7",
    f"Mul(Integer(2), {SYMBOL})",
    f"Add(FloorDiv(Add({SYMBOL}, Integer(-1)), Integer(2)), Integer(1))",
    f"Mul({SYMBOL}, Symbol('s0', positive=True, integer=True), Symbol('s1', nonnegative=True, integer=True))",
    f"Pow({SYMBOL}, Integer(2))",
    f"Max(Integer(1), Mod({SYMBOL}, Integer(7)), Min({SYMBOL}, Integer(32)))",
]
HOSTILE = {
    "a tower of powers": "9**9**9**9",
    "a power": f"{SYMBOL}**2",
    "a power of numbers": "Pow(Integer(9), Integer(999999))",
    "a power of powers": "Pow(Pow(Pow(Pow(Integer(99), Integer(4)), Integer(4)), Integer(4)), Integer(4))",
    "a symbol as exponent": f"Pow(Integer(2), {SYMBOL})",
    "a root": f"Pow({SYMBOL}, Rational(1, 2))",
    "a negative power": f"Pow({SYMBOL}, Integer(-1))",
    "a product of many sizes": f"Mul({', '.join([SYMBOL] * 9)})",
    "a product of large numbers": f"Mul({', '.join(['Integer(999999999999999999)'] * 9)})",
    "nested products": f"Mul({SYMBOL}, " * 9 + SYMBOL + ")" * 9,
    "many digits": "Integer(" + "9" * 100 + ")",
    "more digits than Python reads": "9" * 3999,
    "text as a number": "Integer('9')",
    "an unknown function": "factorial(Integer(9))",
    "a hidden function": f"Add({SYMBOL}, factorial(Integer(99999)))",
    "an attribute": f"{SYMBOL}.subs",
    "a call of a result": f"{SYMBOL}(1)",
    "a lambda": "(lambda: 1)()",
    "an import": "__import__('os')",
    "a comprehension": "[1 for _ in range(9)]",
    "another symbol": "Symbol('x**9')",
    "another assumption": "Symbol('s0', real=True)",
    "a keyword": f"Add({SYMBOL}, evaluate=True)",
    "a function without arguments": "Add()",
    "a nested integer": f"Integer({SYMBOL}, 2)",
    "a quotient of products of sums": (
        "FloorDiv(Mul("
        + ", ".join(f"Add({', '.join(f'Symbol({chr(39)}s{j}{chr(39)})' for j in range(k, k + 7))})" for k in range(2))
        + ", Add(Symbol('s0'), Integer(1))), Symbol('s1'))"
    ),
    "a power of a sum": (
        "FloorDiv(Pow(Add("
        + ", ".join(f"Symbol({chr(39)}s{k}{chr(39)})" for k in range(7))
        + "), Integer(4)), Integer(7))"
    ),
    "many symbols": f"Add({', '.join(f'Symbol({chr(39)}s{k}{chr(39)})' for k in range(9))})",
    "deep parentheses": "(" * 300 + "1" + ")" * 300,
    "deep functions": "Max(" * 60 + "1" + ", 1)" * 60,
    "nothing": "",
    "a boolean": "True",
    "a float": "1e999",
    "a string": "'9'",
    "a statement": "a = 1",
    "no text": ["Integer(2)"],
    "a newline": "1\n+1",
    "a null byte": "1\0",
}


@pytest.mark.parametrize("formula", VALID)
def test_formulas_of_sizes_are_accepted(formula: str) -> None:
    check_formulas([formula])


@pytest.mark.parametrize("name", HOSTILE)
def test_formulas_that_are_no_sizes_are_refused_at_once(name: str) -> None:
    start = time.process_time()
    with pytest.raises(FileFault, match=r"more than arithmetic|more than 256 bits|more than 64 terms"):
        check_formulas([HOSTILE[name]])
    assert in_loop_durations(time.process_time() - start) < 20


def random_formula(rng: random.Random, depth: int) -> str:
    if not depth or rng.random() < 0.2:
        return rng.choice(
            (f"Symbol('s{rng.randrange(3)}', positive=True, integer=True)", f"Integer({rng.choice((-1, 2, 7))})")
        )
    name = rng.choice(("FloorDiv", "CeilDiv", "PythonMod", "Mod", "Max", "Min", "Mul", "Add", "Pow"))
    if name == "Pow":
        return f"Pow({random_formula(rng, depth - 1)}, Integer({rng.randrange(1, 5)}))"
    count = 2 if name in FUNCTIONS else rng.randrange(2, 4)
    return f"{name}({', '.join(random_formula(rng, depth - 1) for _ in range(count))})"


def test_bits_bound_the_value_of_every_accepted_formula() -> None:
    """The values are those of sympy and PyTorch's functions for it, with symbols up to 32 bits."""
    accepted = 0
    for seed in range(300):
        rng = random.Random(seed)
        text = random_formula(rng, rng.randrange(1, 4))
        try:
            check_formulas([text])
        except FileFault:
            continue
        sizes = {f"s{k}": rng.choice((1, 5, 2**32 - 1)) for k in range(3)}
        numbers = text
        for name, size in sizes.items():
            numbers = numbers.replace(f"Symbol('{name}', positive=True, integer=True)", f"Integer({size})")
        try:
            value = int(sympy.sympify(numbers, locals=FUNCTIONS))
        except (ZeroDivisionError, AssertionError):  # by a divisor that is zero, or a negative one
            continue
        accepted += 1
        assert value.bit_length() <= size_formulas._bound(size_formulas.ast.parse(text, mode="eval").body, 0).bits
    assert accepted > 100


def test_formulas_are_limited_in_length_and_number() -> None:
    with pytest.raises(FileFault, match="has a size of more than 4,000 characters"):
        check_formulas([f"Add({', '.join(['1'] * 2000)})"])
    check_formulas([SYMBOL] * 5000)
    with pytest.raises(FileFault, match="430,000 characters in formulas for sizes, above the limit of 400,000"):
        check_formulas([SYMBOL + " "] * 10_000)
    with pytest.raises(FileFault, match="characters in distinct formulas for sizes, above the limit of 25,000"):
        check_formulas(f"Mul({SYMBOL}, Integer({k}))" for k in range(1000))


def test_accepted_formulas_are_evaluated_in_a_moment() -> None:
    """Formulas of many symbols, in quotients of products of sums, which PyTorch multiplies out."""
    for seed in range(60):
        rng = random.Random(seed)
        symbols = [f"Symbol('s{k}', positive=True, integer=True)" for k in range(8)]
        sums = [f"Add({', '.join(rng.sample(symbols, rng.randrange(2, 8)))})" for _ in range(rng.randrange(1, 5))]
        name = rng.choice(("FloorDiv", "CeilDiv", "PythonMod", "Mod", "Max"))
        text = f"{name}(Mul({', '.join(sums)}), Add({', '.join(rng.sample(symbols, 7))}))"
        try:
            check_formulas([text])
        except FileFault:
            continue
        start = time.process_time()
        sympy.sympify(text, locals=FUNCTIONS)
        assert in_loop_durations(time.process_time() - start) < 100


def size_node(target: str, output: str, *arguments: str | int) -> dict[str, object]:
    """Return a node as in the file of a program; text is the name of a size."""
    values = [{"as_int": each} if isinstance(each, int) else {"as_sym_int": {"as_name": each}} for each in arguments]
    return {
        "target": target,
        "inputs": [{"name": "", "arg": value} for value in values],
        "outputs": [{"as_sym_int": {"as_name": output}}],
    }


def test_nodes_may_multiply_sizes_only_a_few_times() -> None:
    area = [size_node("_operator.mul", "area", "height", "width"), size_node("_operator.mul", "n", "area", "batch")]
    check_computed_sizes(area)
    check_computed_sizes([size_node("_operator.add", f"x{k + 1}", f"x{k}", f"x{k}") for k in range(100)])
    chains = {
        "squares": [size_node("_operator.mul", f"x{k + 1}", f"x{k}", f"x{k}") for k in range(64)],
        "factors": [size_node("_operator.mul", f"x{k + 1}", f"x{k}", 10**18) for k in range(64)],
        "sums between": [
            node
            for k in range(64)
            for node in (
                size_node("_operator.mul", f"p{k}", f"x{k}", "height"),
                size_node("_operator.sub", f"x{k + 1}", f"p{k}", 1),
            )
        ],
        "quotients between": [
            node
            for k in range(64)
            for node in (
                size_node("_operator.mul", f"p{k}", f"x{k}", "height"),
                size_node("_operator.floordiv", f"x{k + 1}", f"p{k}", 1),
            )
        ],
    }  # fmt: skip
    for nodes in chains.values():
        with pytest.raises(FileFault, match="multiplies sizes to numbers of more than 256 bits"):
            check_computed_sizes(nodes)
