"""Mutation operators: functions that yield wrong replacements for a node of a backward pass.

An operator receives a node and the names of the function's parameters, and yields mutations. A mutation is a tuple of
edits, and an edit is a pair: a node, and its replacement.
"""

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise

Edit = tuple[ast.AST, ast.AST]
Mutation = tuple[Edit, ...]
Operator = Callable[[ast.AST, frozenset[str]], Iterator[Mutation]]

# The index of the argument of a method that is an axis. A function of torch has one argument more, x, before it.
AXES = {
    "sum": 0,
    "mean": 0,
    "flatten": 0,
    "unsqueeze": 0,
    "softmax": 0,
    "log_softmax": 0,
    "gather": 0,
    "scatter": 0,
    "scatter_": 0,
    "scatter_add": 0,
    "index_select": 0,
    "split": 1,
    "cat": 1,
    "movedim": 0,
}
# Calls on x, as in x.abs() or torch.exp(x), that can be replaced by x.
VALUE_CALLS = {
    "abs", "clamp", "clamp_min", "contiguous", "exp", "flatten", "float", "masked_fill", "maximum", "mean", "ndtr",
    "relu_", "reshape", "reversed", "rsqrt", "scatter", "scatter_add", "sigmoid", "sign", "softplus", "sqrt", "sum",
    "t", "tanh", "view",
}  # fmt: skip
# Calls whose arguments are not swapped: their order has no effect on the result, or a swap only raises an error.
SYMMETRIC_CALLS = {"maximum", "add_up", "add_up_tree", "promote_types", "isinstance"}
FLAGS = {"affine", "align_corners", "any", "batch", "bias", "ceil_mode", "count_include_pad", "need_dx", "over_dy"}
GRADIENT_INPUTS = {"dy", "target", "wanted"}  # parameters of the functions that return gradients
NEUTRAL_OPTIONS = {"padding": 0, "output_padding": 0}  # default values of options; 1 for all others


def called_name(node: ast.AST) -> str:
    """Return the name of the called function or method, without the object; "" if the node is not a call."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
            return name
    return ""


def number_value(node: ast.AST) -> int | float | None:
    """Return the value of a numeric constant; None for any other node, including bool."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # pyright: ignore[reportReturnType]
    return None


def parse_expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression."""
    return ast.parse(text, mode="eval").body


def negate(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def gradient_nodes(node: ast.AST, names: frozenset[str]) -> list[ast.expr]:
    """Return the nodes of the gradients in a return statement: of (dx, dparams), (value, dy) or dparams."""
    if not isinstance(node, ast.Return) or node.value is None or not names & GRADIENT_INPUTS:
        return []
    parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    nodes: list[ast.expr] = []
    for part in parts:
        dicts = [one for one in ast.walk(part) if isinstance(one, ast.Dict | ast.DictComp)]
        if dicts:
            nodes += [value for one in dicts for value in (one.values if isinstance(one, ast.Dict) else [one.value])]
        elif isinstance(node.value, ast.Tuple) and not is_value(part, (None,)):
            nodes.append(part)
    return nodes


def is_value(node: ast.AST, values: tuple[object, ...]) -> bool:
    return isinstance(node, ast.Constant) and any(node.value is value for value in values)


def wrong_sign(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Replace a sum by a difference or the reverse, remove a minus, or return the negative gradient."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield ((node, ast.BinOp(left, ast.Sub(), right)),)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield ((node, ast.BinOp(left, ast.Add(), right)),)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield ((node, operand),)
    for part in gradient_nodes(node, names):
        yield ((part, negate(part)),)


def missing_factor(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Remove a factor, a divisor or an exponent."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            yield ((node, left),)
            yield ((node, right),)
        case ast.BinOp(left=left, op=ast.Div() | ast.FloorDiv() | ast.Pow()):
            yield ((node, left),)


def missing_term(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Remove a term of a sum or difference."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            yield ((node, left),)
            yield ((node, right),)


def missing_call(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Replace x.sum(1), torch.exp(x) or torch.where(condition, x, 0) by x."""
    match node:
        case ast.Call(func=ast.Name(id="reversed"), args=[x]):
            yield ((node, x),)
        case ast.Call(func=ast.Attribute(attr="where"), args=[_, x, other]):
            yield ((node, x),)
            yield ((node, other),)
        case ast.Call(func=ast.Attribute(value=x, attr=name), args=args) if name in VALUE_CALLS:
            yield ((node, args[0] if is_module(x) else x),)


def is_module(node: ast.AST) -> bool:
    """Return whether the node is torch, F, aten or math, or an attribute of one of them."""
    match node:
        case ast.Attribute(value=inner):
            return is_module(inner)
        case ast.Name(id="torch" | "F" | "aten" | "math"):
            return True
    return False


def partial_sum(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Replace a sum by a mean, a mean by a sum, or a sum by its first term."""
    match node:
        case ast.Call(func=ast.Attribute(value=x, attr="sum" | "mean" as name), args=args, keywords=keywords):
            other = ast.Attribute(x, "mean" if name == "sum" else "sum")
            yield ((node, ast.Call(other, args, keywords)),)
            if len(args) == 1 and name == "sum":
                first = [args[0], ast.Constant(0), ast.Constant(1)] if keywords else [args[0], ast.Constant(0)]
                yield ((node, ast.Call(ast.Attribute(x, "narrow" if keywords else "select"), first, [])),)


def wrong_axis(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Replace an axis by another one, remove axes from a tuple, or swap height and width."""
    match node:
        case ast.Call(func=ast.Attribute(value=x), args=args) if called_name(node) in AXES:
            position = AXES[called_name(node)] + (is_module(x) and called_name(node) != "cat")
            if position < len(args):
                yield from ((edit,) for edit in other_axes(args[position]))
        case ast.Call(func=ast.Name(id="pair")):
            yield ((node, parse_expression(f"{ast.unparse(node)}[::-1]")),)
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=index) if number_value(index) is not None:
            yield from ((edit,) for edit in other_axes(index))
        case ast.Tuple(elts=[one, other], ctx=ast.Load()) if can_swap(one, other):
            yield ((one, other), (other, one))


def other_axes(axis: ast.expr) -> Iterator[Edit]:
    number = number_value(axis)
    if isinstance(axis, ast.Tuple):
        yield from ((axis, ast.Tuple([one], ast.Load())) for one in axis.elts)
    elif number is None:
        yield axis, ast.BinOp(axis, ast.Sub(), ast.Constant(1))
    else:
        yield axis, ast.Constant(int(number) - 1 if number > 0 else 1)


def can_swap(one: ast.expr, other: ast.expr) -> bool:
    plain = (ast.Name, ast.Attribute)
    return isinstance(one, plain) and isinstance(other, plain) and ast.unparse(one) != ast.unparse(other)


def off_by_one(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Add one to a padding, a stride, a window or the bound of a slice, or use the default of an option."""
    match node:
        case ast.Call(func=ast.Name(id="pair"), args=[ast.Attribute(attr=option)]):
            yield ((node, parse_expression(f"tuple(n + 1 for n in {ast.unparse(node)})")),)
            usual = NEUTRAL_OPTIONS.get(option, 1)
            yield ((node, parse_expression(f"({usual}, {usual})")),)
        case ast.Slice(lower=lower, upper=upper):
            for bound in (lower, upper):
                if bound is not None and number_value(bound) is None:
                    yield ((bound, ast.BinOp(bound, ast.Add(), ast.Constant(1))),)
        case ast.Attribute(value=ast.Name(id="self"), attr="groups"):
            yield ((node, ast.Constant(1)),)


def wrong_comparison(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Include or exclude the bound of a comparison, or negate an equality."""
    others: dict[type[ast.cmpop], type[ast.cmpop]] = {
        ast.Gt: ast.GtE,
        ast.GtE: ast.Gt,
        ast.Lt: ast.LtE,
        ast.LtE: ast.Lt,
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
        ast.Is: ast.IsNot,
        ast.IsNot: ast.Is,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
    }
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = others[type(node.ops[0])]()
        yield ((node, ast.Compare(node.left, [other], node.comparators)),)


def wrong_constant(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Replace 1 by 0, any other integer n by n + 1, and a float by its double."""
    value = number_value(node)
    if isinstance(value, int):
        yield ((node, ast.Constant(0 if value == 1 else value + 1)),)
    elif value:
        yield ((node, ast.Constant(2 * value)),)


def wrong_flag(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Negate a boolean constant or flag."""
    match node:
        case ast.Constant(value=bool() as value):
            yield ((node, ast.Constant(not value)),)
        case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()) if name in FLAGS:
            yield ((node, ast.UnaryOp(ast.Not(), node)),)  # pyright: ignore[reportArgumentType]


def wrong_branch(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Negate a condition that is not a comparison, or change or remove parts of a logical expression."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare):
            yield ((test, ast.UnaryOp(ast.Not(), test)),)
        case ast.BoolOp(op=op, values=values):
            yield ((node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)),)
            yield from (((node, value),) for value in values)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            yield ((node, ast.BinOp(left, ast.BitOr(), right)),)
            yield ((node, left),)
            yield ((node, right),)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield ((node, ast.BinOp(left, ast.BitAnd(), right)),)


def swapped_arguments(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Swap neighbouring arguments of a call, or the factors of a matrix product."""
    match node:
        case ast.Call(args=args) if called_name(node) not in SYMMETRIC_CALLS:
            for one, other in pairwise(args):
                if argument_kind(one) == argument_kind(other) and ast.unparse(one) != ast.unparse(other):
                    yield (one, other), (other, one)
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            yield ((node, ast.BinOp(right, ast.MatMult(), left)),)


def argument_kind(node: ast.expr) -> str:
    """Guess the kind of an argument: swapping a tensor and a flag would only raise an error."""
    match node:
        case ast.Constant(value=bool()):
            return "flag"
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in FLAGS:
            return "flag"
        case ast.Tuple() | ast.List() | ast.Attribute(attr="shape") | ast.Subscript(slice=ast.Slice()) | ast.Starred():
            return "sizes"
        case ast.Call() if called_name(node) in ("pair", "_output"):
            return "sizes"
        case ast.Constant() | ast.Attribute(value=ast.Name(id="self")):
            return "number"
    return "tensor"


def swapped_gradients(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Swap the gradients of two parameters, or neighbouring targets of an unpacked result."""
    match node:
        case ast.Dict(values=[one, other]):
            yield (one, other), (other, one)
        case ast.Assign(targets=[ast.Tuple(elts=elts)]):
            yield from (((one, other), (other, one)) for one, other in pairwise(elts))


def dropped_gradient(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Return zeros for one of the gradients."""
    for part in gradient_nodes(node, names):
        yield ((part, ast.BinOp(part, ast.Mult(), ast.Constant(0))),)


def unchanged_gradient(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Return dy as dx."""
    match node:
        case ast.Return(value=ast.Tuple(elts=[dx, _])) if "dy" in names and ast.unparse(dx) != "dy":
            yield ((dx, ast.Name("dy")),)


def missing_step(node: ast.AST, names: frozenset[str]) -> Iterator[Mutation]:
    """Remove a statement that changes an existing value."""
    match node:
        case ast.Assign(targets=[target], value=value):
            written_names = {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
            read_names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
            if written_names and written_names <= read_names | names:
                yield ((node, ast.Pass()),)
        case ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield ((node, ast.Pass()),)


OPERATORS: dict[str, Operator] = {
    "wrong sign": wrong_sign,
    "missing factor": missing_factor,
    "missing term": missing_term,
    "missing call": missing_call,
    "partial sum": partial_sum,
    "wrong axis": wrong_axis,
    "off by one": off_by_one,
    "wrong comparison": wrong_comparison,
    "wrong constant": wrong_constant,
    "wrong flag": wrong_flag,
    "wrong branch": wrong_branch,
    "swapped arguments": swapped_arguments,
    "swapped gradients": swapped_gradients,
    "dropped gradient": dropped_gradient,
    "unchanged gradient": unchanged_gradient,
    "missing step": missing_step,
}
