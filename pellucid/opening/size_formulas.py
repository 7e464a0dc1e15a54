"""Formulas for sizes in the file of an exported program, which are checked before PyTorch evaluates them."""

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pellucid.base.limits import (
    MAX_DISTINCT_FORMULAS_LENGTH,
    MAX_FORMULA_BITS,
    MAX_FORMULA_LENGTH,
    MAX_FORMULA_LEVELS,
    MAX_FORMULA_POWER,
    MAX_FORMULA_SYMBOLS,
    MAX_FORMULA_TERMS,
    MAX_FORMULAS_LENGTH,
)
from pellucid.weights.fault import FileFault, check_count, quoted

SAVE_AGAIN = "save it again by torch.export.save of PyTorch 2.13"
SYMBOL_BITS = 32

_SYMBOL_NAME = re.compile(r"[a-z]{1,4}\d{1,9}")
_ASSUMPTIONS = {"positive", "integer", "nonnegative"}
_SELECTIONS = {"FloorDiv", "CeilDiv", "PythonMod", "Mod", "Max", "Min"}  # at most as large as an argument, or 1


def check_formulas(formulas: Iterable[Any]) -> None:
    """Raise FileFault for a formula that is more than arithmetic, and for those that take PyTorch many seconds.

    A formula is written as by sympy.srepr: `Mul(Integer(2), Symbol('s0', positive=True, integer=True))`.
    """
    count_by_formula = Counter(map(str, formulas))
    total_length = sum(len(text) * count for text, count in count_by_formula.items())
    distinct_length = sum(map(len, count_by_formula))
    check_count("characters in formulas for sizes", total_length, MAX_FORMULAS_LENGTH)
    check_count("characters in distinct formulas for sizes", distinct_length, MAX_DISTINCT_FORMULAS_LENGTH)
    for text in count_by_formula:
        _check_formula(text)


def _check_formula(text: str) -> None:
    if len(text) > MAX_FORMULA_LENGTH:
        raise FileFault(f"has a size of more than {MAX_FORMULA_LENGTH:,} characters, {quoted(text)}", SAVE_AGAIN)
    try:
        # sympy would compute 9**9**9**9, and a pattern for all formulas backtracks exponentially or accepts powers
        tree = ast.parse(text, mode="eval").body
        size = _bound(tree, 0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FileFault(f"has the size {quoted(text)}, which is more than arithmetic", SAVE_AGAIN) from error
    if size.bits > MAX_FORMULA_BITS:
        raise FileFault(f"has the size {quoted(text)}, which may have more than {MAX_FORMULA_BITS} bits", SAVE_AGAIN)
    n_symbols = len(set(re.findall(r"Symbol\('\w+'", text)))
    if size.terms > MAX_FORMULA_TERMS or n_symbols > MAX_FORMULA_SYMBOLS:
        raise FileFault(
            f"has the size {quoted(text)}, of more than {MAX_FORMULA_TERMS} terms or {MAX_FORMULA_SYMBOLS} symbols",
            SAVE_AGAIN,
        )


def check_computed_sizes(nodes: Iterable[Mapping[str, Any]]) -> None:
    """Raise FileFault for nodes that multiply sizes to numbers of more than MAX_FORMULA_BITS.

    nodes: the nodes of a program's graph, in order.
    """
    bits_by_name: dict[str, int] = {}  # of the sizes that earlier nodes computed
    for node in nodes:
        if not node["target"].startswith(("_operator.", "torch.sym_")):
            continue
        bits = [_argument_bits(node_input["arg"], bits_by_name) for node_input in node["inputs"]]
        result_bits = max(bits, default=0) + 1  # of a sum; those of quotients and remainders are fewer
        if node["target"] == "_operator.mul":
            result_bits = sum(bits)
        if result_bits > MAX_FORMULA_BITS:
            raise FileFault(f"multiplies sizes to numbers of more than {MAX_FORMULA_BITS} bits", SAVE_AGAIN)
        for output in node["outputs"]:
            name = _size_name(output)
            if name is not None:
                bits_by_name[name] = result_bits


def _argument_bits(argument: Mapping[str, Any], bits_by_name: Mapping[str, int]) -> int:
    """Return the bits of an argument of a node that computes a size."""
    if "as_int" in argument:
        return int(argument["as_int"]).bit_length()
    return bits_by_name.get(_size_name(argument) or "", SYMBOL_BITS)


def _size_name(value: Mapping[str, Any]) -> str | None:
    """Return the name of a computed size; None for other values."""
    size = value.get("as_sym_int")
    return size.get("as_name") if isinstance(size, Mapping) else None


class _Bound(NamedTuple):
    """Upper bounds for a formula: the bits of its value, and its terms if it, or a part of it, is multiplied out."""

    bits: int
    terms: int = 1


def _bound(tree: ast.expr, depth: int) -> _Bound:
    """Return bounds for a formula; raises ValueError for one that is more than arithmetic."""
    if depth > MAX_FORMULA_LEVELS:
        raise ValueError("nested too deeply")
    match tree:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return _Bound(number.bit_length())
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _bound(operand, depth + 1)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=assumptions):
            _check_symbol(name, assumptions)
            return _Bound(SYMBOL_BITS)
        case ast.Call(func=ast.Name(id="Pow"), args=[base, exponent], keywords=[]):
            factor = _bound(base, depth + 1)
            return _product([factor] * _exponent(exponent))
        case ast.Call(func=ast.Name(id=function), args=[_, *_] as arguments, keywords=[]):
            return _call_bound(function, [_bound(argument, depth + 1) for argument in arguments])
        case _:
            raise ValueError("more than arithmetic")


def _call_bound(function: str, bounds: list[_Bound]) -> _Bound:
    """Return bounds for a function's value, from those of its arguments."""
    bits = max(bound.bits for bound in bounds)
    if function == "Mul":
        return _product(bounds)
    if function == "Add":
        return _Bound(bits + len(bounds).bit_length(), sum(bound.terms for bound in bounds))
    if function in _SELECTIONS and max(bound.terms for bound in bounds) <= MAX_FORMULA_TERMS:
        return _Bound(bits)  # one term of the formula around it
    if function == "Integer" and len(bounds) == 1:
        return bounds[0]
    raise ValueError("unknown function, or too many terms")


def _product(factors: list[_Bound]) -> _Bound:
    return _Bound(sum(factor.bits for factor in factors), math.prod(factor.terms for factor in factors))


def _exponent(tree: ast.expr) -> int:
    """Return the exponent of a power, a number from 1 to MAX_FORMULA_POWER; raises ValueError for another one."""
    match tree:
        case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(number))], keywords=[]):
            if 1 <= number <= MAX_FORMULA_POWER:
                return number
    raise ValueError("no power of a size")


def _check_symbol(name: str, assumptions: list[ast.keyword]) -> None:
    """Raise ValueError unless a symbol has a name and assumptions as PyTorch writes them."""
    for assumption in assumptions:
        value = assumption.value
        if assumption.arg not in _ASSUMPTIONS or not isinstance(value, ast.Constant) or value.value is not True:
            raise ValueError("unknown assumption")
    if not _SYMBOL_NAME.fullmatch(name):
        raise ValueError("unknown name")
