"""Samples of PyTorch's linear map and matrix products; the right-hand matrix becomes the weight of Dense."""

from collections.abc import Callable

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, UNBATCHED, ForwardPass, Trial, layer_trial
from pellucid.layers import Add, Dense, Mode


def linear(reference: Callable[[], Tensor], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Trial:
    """Return the trial of Dense on a sample of linear."""
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer = Dense(len(weight), bias is not None)
    return layer_trial(layer, params, x, reference, view=AS_IS if x.dim() > 1 else UNBATCHED)


def matmul(reference: Callable[[], Tensor], x: Tensor, matrix: Tensor, alpha: float = 1.0) -> Trial:
    """Return the trial of Dense with the weight alpha matrixᵀ on a sample of alpha x @ matrix.

    The weight is one row if `matrix` is a vector.
    """
    if matrix.dim() > 2:
        raise SkipCase("a batch of right-hand matrices")
    view, is_vector = AS_IS if x.dim() > 1 else UNBATCHED, matrix.dim() == 1
    params = {"weight": alpha * (matrix.unsqueeze(0) if is_vector else matrix.t())}
    layer = Dense(len(params["weight"]), bias=False)

    def forward() -> ForwardPass:
        y, cache = layer.forward(params, view.lift(x), Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy.unsqueeze(-1) if is_vector else dy))
            dweight = alpha * dparams["weight"]
            return {"x": view.drop(dx), "matrix": dweight.squeeze(0) if is_vector else dweight.t()}

        y = view.drop(y)
        return ForwardPass((y.squeeze(-1) if is_vector else y,), backward)

    return Trial({"x": x, "matrix": matrix}, lambda: (reference(),), forward)


def matmul_from_right(reference: Callable[[], Tensor], matrix: Tensor, x: Tensor) -> Trial:
    """Return the trial of Dense on a sample of __rmatmul__, whose result is x @ matrix."""
    return matmul(reference, x, matrix)


def addmm(
    reference: Callable[[], Tensor], shift: Tensor, x: Tensor, matrix: Tensor, beta: float = 1.0, alpha: float = 1.0
) -> Trial:
    """Return the trial of Dense and Add on a sample of addmm or addmv, beta shift + alpha x @ matrix."""
    product = matmul(reference, x, matrix, alpha)

    def forward() -> ForwardPass:
        (y,), product_backward = product.forward()
        total, cache = Add().forward({}, (y, (beta * shift).expand_as(y)), Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            (dproduct, dshift), _ = Add().backward({}, cache, dy)
            return {"shift": beta * dshift.sum_to_size(shift.shape), **product_backward(dproduct)}

        return ForwardPass((total,), backward)

    return Trial({"shift": shift, **product.tensors}, product.reference, forward)


def addmm_of_rows(
    reference: Callable[[], Tensor], shift: Tensor, x: Tensor, matrix: Tensor, beta: float = 1.0, alpha: float = 1.0
) -> Trial:
    """Return the trial of Dense with the bias beta shift on a sample of addmm; for a 2-D `shift`, that of `addmm`."""
    if shift.dim() > 1:
        return addmm(reference, shift, x, matrix, beta, alpha)
    params = {"weight": alpha * matrix.t(), "bias": (beta * shift).expand(matrix.shape[1])}
    layer = Dense(matrix.shape[1])

    def forward() -> ForwardPass:
        y, cache = layer.forward(params, x, Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, dy)
            dshift = beta * dparams["bias"].sum_to_size(shift.shape)
            return {"shift": dshift, "x": dx, "matrix": alpha * dparams["weight"].t()}

        return ForwardPass((y,), backward)

    return Trial({"shift": shift, "x": x, "matrix": matrix}, lambda: (reference(),), forward)


OPERATORS = (
    Operator("nn.functional.linear", Dense, linear),
    Operator("mm", Dense, matmul),
    Operator("matmul", Dense, matmul),
    Operator("__rmatmul__", Dense, matmul_from_right),
    Operator("addmm", Dense, addmm_of_rows),
    Operator("addmm", Dense, addmm_of_rows, "decomposed"),
    Operator("addmv", Dense, addmm),
)
