"""Every operator of PyTorch's sample database that resembles one of Pellucid is in the table or has a reason."""

import re
from typing import Any

import pytest
from torch.testing._internal.common_methods_invocations import op_db

from conformance.opinfo import OPERATORS
from pellucid import operators
from pellucid.layers import (
    GRU,
    LAYERS,
    LSTM,
    RNN,
    Crop,
    LocalContrastNorm,
    LpPool2d,
    PadChannels,
    RoIAlign,
    RoIPool,
    SiLU,
    SoftArgmax,
)
from pellucid.operators import (
    AffineGrid,
    AngleOfPoint,
    Detach,
    Fixed,
    Fold,
    Gather,
    GridSample,
    KeepOutside,
    Learned,
    LogSumExp,
    MaxPositions,
    NumberFunction,
    OneHot,
    Positions,
    RunningProduct,
    Scatter,
    ShiftMask,
    StepFunction,
    ToPower,
    UnscaledBatchNorm,
)

pytestmark = pytest.mark.slow

SIMILAR_NAMES = re.compile(
    "conv|pool|norm|pad|interpolate|upsample|relu|elu|gelu|sigmoid|tanh|softmax|softmin|dropout|loss|cross_entropy|"
    "linear|flatten|reshape|view|cat|stack|add|mul|mm"
)

NAMES_BY_REASON = {
    "3-D images": (
        "nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d nn.functional.avg_pool3d "
        "nn.functional.fractional_max_pool3d "
        "nn.functional.interpolate.trilinear nn.functional.max_pool3d nn.functional.max_unpool3d "
        "nn.functional.max_unpool3d.grad"
    ),
    "reduction='none' in every sample": "nn.functional.linear_cross_entropy.chunked_none",
    "a pool that we do not have": "nn.functional.fractional_max_pool2d",
    "a normalization that we do not have": ("nn.functional.normalize nn.functional.rms_norm masked.normalize renorm"),
    "an activation that we do not have": ("nn.functional.logsigmoid nn.functional.selu nn.functional.tanhshrink"),
    "a dropout that moves the values it drops": (
        "nn.functional.alpha_dropout nn.functional.feature_alpha_dropout.with_train "
        "nn.functional.feature_alpha_dropout.without_train"
    ),
    "a loss that we do not have": (
        "nn.functional.cosine_embedding_loss nn.functional.ctc_loss nn.functional.gaussian_nll_loss "
        "nn.functional.hinge_embedding_loss nn.functional.margin_ranking_loss nn.functional.multilabel_margin_loss "
        "nn.functional.poisson_nll_loss nn.functional.triplet_margin_loss "
        "nn.functional.triplet_margin_with_distance_loss"
    ),
    "BinaryCrossEntropy has targets of yes or no, its samples have not": "nn.functional.soft_margin_loss",
    "a mask": "masked.log_softmax masked.softmax masked.softmin",
    "products of three or of batches of matrices": (
        "addbmm baddbmm bmm.triton_optimized linalg.multi_dot nn.functional.bilinear "
        "nn.functional.multi_head_attention_forward"
    ),
    "an outer product, or products and quotients added": "addcdiv addcmul addr",
    "sparse or 8-bit matrices": "sparse.mm.reduce sparse.sampled_addmm torch._scaled_mm torch._scaled_mm_v2",
    "complex numbers": "view_as_complex view_as_real",
    "the length of a vector or matrix": (
        "linalg.matrix_norm linalg.norm linalg.norm.subgradients_at_zero masked.norm norm norm.fro norm.inf norm.nuc"
    ),
    "normally distributed draws": "log_normal normal normal.in_place normal.number_mean",
    "another function of numbers": (
        "atanh cummax cummin cumulative_trapezoid digamma igamma igammac lgamma logaddexp logaddexp2 masked.logaddexp "
        "multinomial mvlgamma.mvlgamma_p_1 mvlgamma.mvlgamma_p_3 mvlgamma.mvlgamma_p_5 polygamma.polygamma_n_0 "
        "polygamma.polygamma_n_1 polygamma.polygamma_n_2 polygamma.polygamma_n_3 polygamma.polygamma_n_4 "
        "signal.windows.general_hamming signal.windows.hamming special.polygamma.special_polygamma_n_0"
    ),
    "values read or put at places of an index": (
        "_unsafe_masked_index_put_accumulate as_strided_scatter as_strided.partial_views "
        "diagonal_scatter index_add masked_scatter scatter "
        "scatter_add scatter_reduce.amax scatter_reduce.amin scatter_reduce.mean scatter_reduce.prod scatter_reduce.sum"
    ),
    "chunks padded and joined": "_chunk_cat",
}
REASON_BY_NAME = {name: reason for reason, names in NAMES_BY_REASON.items() for name in names.split()}


def operator_title(entry: Any) -> str:
    return f"{entry.name}.{entry.variant_test_name}".rstrip(".")


def test_every_similar_operator_is_in_the_table_or_has_a_reason() -> None:
    torch_names = set(map(operator_title, op_db))
    table_names = {operator.title for operator in OPERATORS}
    assert table_names <= torch_names
    similar_names = {title for title in torch_names if SIMILAR_NAMES.search(title)}
    assert len(similar_names) > 200
    assert similar_names - table_names - REASON_BY_NAME.keys() == set(), "put it into OPERATORS, or say why not"


def test_every_reason_belongs_to_an_existing_operator() -> None:
    torch_names = set(map(operator_title, op_db))
    assert REASON_BY_NAME.keys() <= torch_names
    tested_names = {operator.title for operator in OPERATORS}
    assert REASON_BY_NAME.keys() & tested_names == set(), "remove them from NAMES_BY_REASON of this file"
    assert len({(operator.title, operator.subject) for operator in OPERATORS}) == len(OPERATORS)


OPERATORS_WITHOUT_SAMPLES = {  # Pellucid's operators without an entry in OPERATORS
    **dict.fromkeys((AffineGrid, Detach, GridSample, KeepOutside, LogSumExp), "compared in tests/operators"),
    **dict.fromkeys((MaxPositions, StepFunction, ToPower), "compared in tests/operators"),
    **dict.fromkeys((AngleOfPoint, Gather, NumberFunction, OneHot, Positions), "compared in tests/operators"),
    **dict.fromkeys((RunningProduct, Scatter, UnscaledBatchNorm), "compared in tests/operators"),
    Fixed: "no input", Learned: "no input", ShiftMask: "no operator of PyTorch", Fold: "no samples of fold",
}  # fmt: skip


def test_every_operator_of_opened_networks_has_samples_or_a_reason() -> None:
    without_samples = set(operators.OPERATORS) - {operator.subject for operator in OPERATORS}
    advice = "give each a line in conformance/opinfo/tensors.py, or say why not in OPERATORS_WITHOUT_SAMPLES"
    assert without_samples == OPERATORS_WITHOUT_SAMPLES.keys(), advice


LAYERS_WITHOUT_SAMPLES = {  # Pellucid's layers without an entry in OPERATORS
    **dict.fromkeys((GRU, LSTM, RNN, LpPool2d, SiLU), "samples of PyTorch's modules, or compared in tests/layers"),
    **dict.fromkeys((Crop, LocalContrastNorm, PadChannels, SoftArgmax), "no operator of PyTorch"),
    **dict.fromkeys((RoIAlign, RoIPool), "operators of torchvision"),
}


def test_every_layer_has_samples_or_a_reason() -> None:
    without_samples = set(LAYERS) - {operator.subject for operator in OPERATORS}
    advice = "give each a line in conformance/opinfo, or say why not in LAYERS_WITHOUT_SAMPLES"
    assert without_samples == LAYERS_WITHOUT_SAMPLES.keys(), advice
