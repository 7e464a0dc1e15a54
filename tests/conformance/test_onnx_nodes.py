"""ONNX's node cases: every supported case is included, wrong nodes fail, and the backend follows ONNX's definitions."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from conformance.case import Case, Mismatch, SkipCase
from conformance.onnx_nodes import backend, cases, check
from conformance.onnx_nodes.backend import OPERATORS, PellucidBackend
from conformance.onnx_nodes.published import Published, published
from conformance.tally import Row
from pellucid.layers import Conv2d, Dense, MaxPool2d, Upsample
from pellucid.optim import Momentum, Nesterov

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
SUPPORTED = {
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "MaxUnpool",
    "RoiAlign",
    "NonMaxSuppression",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "LRN",
    "Resize",
    "Upsample",
    "Pad",
    "Softmax",
    "LogSoftmax",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Sigmoid",
    "Tanh",
    "Gelu",
    "Clip",
    "Identity",
    "Dropout",
    "SoftmaxCrossEntropyLoss",
    "NegativeLogLikelihoodLoss",
    "Gemm",
    "MatMul",
    "Concat",
    "Add",
    "Sum",
    "Mul",
    "Flatten",
    "Reshape",
    "Adam",
    "Adagrad",
    "Momentum",
}


@cache
def all_cases() -> tuple[Case, ...]:
    return tuple(cases())


@cache
def all_published() -> tuple[Published, ...]:
    return tuple(published())


def random_array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def make_model(
    nodes: list[onnx.NodeProto], x: np.ndarray, weights: dict[str, np.ndarray], opset: int = 22
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * x.ndim)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def run_node(operator: str, *inputs: np.ndarray, outputs: int = 1, **attributes: object) -> tuple[np.ndarray, ...]:
    names = [f"i{k}" for k in range(len(inputs))]
    node = helper.make_node(operator, names, [f"o{k}" for k in range(outputs)], **attributes)
    return PellucidBackend.run_node(node, inputs)


@pytest.mark.heavy
def test_every_published_case_of_the_supported_operators_is_included() -> None:
    names = {(case.suite.split()[1], case.name) for case in all_cases()}
    assert len(names) == len(all_cases())
    single_node = {(case.kind, case.name): case for case in all_published() if len(case.model.graph.node) == 1}
    supported = {key for key, case in single_node.items() if case.model.graph.node[0].op_type in SUPPORTED}
    assert len(supported) > 350
    assert supported <= names
    bodies = {(case.kind, case.name) for case in all_published() if (case.kind, case.origin) in supported}
    assert len(bodies) > len(supported)
    assert bodies <= names


@pytest.mark.heavy
def test_every_operator_except_global_lp_pool_has_a_case() -> None:
    operators = {case.suite.split()[2] for case in all_cases()}
    assert set(OPERATORS) - operators == {"GlobalLpPool"}


@pytest.mark.heavy
def test_the_checked_class_depends_on_the_attributes_of_a_case() -> None:
    subjects = {case.name: case.subject for case in all_cases()}
    assert subjects["test_basic_conv_with_padding"] is Conv2d
    assert subjects["test_resize_upsample_sizes_cubic"] is Upsample
    assert subjects["test_momentum"] is Momentum
    assert subjects["test_nesterov_momentum"] is Nesterov
    assert subjects["test_operator_mm"] is Dense  # its model is a constant followed by Gemm


@pytest.mark.heavy
def test_skipped_cases_name_what_is_missing() -> None:
    reasons = dict(_skip_reasons(all_cases()))
    assert reasons["test_maxpool_3d_default"] == "3-D image"
    assert reasons["test_roialign_mode_max"] == "option mode='max'"
    assert reasons["test_add_int8"] == "dtype int8"
    assert reasons["test_identity_sequence"] == "type sequence"
    assert reasons["test_sce_none"] == "option reduction='none'"
    assert reasons["test_training_dropout"] == "a mask drawn by NumPy"
    assert reasons["test_softmax_axis_0_expanded"] == "function body in primitive operators"


def _skip_reasons(all_cases_: tuple[Case, ...]) -> Iterator[tuple[str, str]]:
    for case in all_cases_:
        row = Row(case.suite, case.version, case.file, case.subject)
        row.add(case)
        yield from ((case.name, reason) for reason in row.skips)


@pytest.mark.parametrize(
    ("name", "attribute", "wrong_value"),
    [
        ("test_conv_with_strides_padding", "pads", [0, 0, 1, 1]),
        ("test_maxpool_2d_strides", "strides", [2, 2]),
        ("test_lrn", "alpha", 0.1),
        ("test_nllloss_NCd1d2_with_weight_reduction_sum_ii", "ignore_index", 1),
        ("test_layer_normalization_3d_axis1_epsilon", "epsilon", 1e-5),
        ("test_adam_multiple", "beta", 0.5),
    ],
)
def test_a_wrong_attribute_gives_a_mismatch(name: str, attribute: str, wrong_value: object) -> None:
    case = next(case for case in all_published() if case.name == name)
    assert check(case) < 1e-5
    changed_model = onnx.ModelProto()
    changed_model.CopyFrom(case.model)
    (field,) = (field for field in changed_model.graph.node[0].attribute if field.name == attribute)
    field.CopyFrom(helper.make_attribute(attribute, wrong_value))
    try:
        error = check(Published(case.kind, case.name, changed_model, case.data_sets))
    except Mismatch:
        return
    assert error > 1e-4


def test_an_unknown_attribute_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("slope", 0.1))
    with pytest.raises(onnx.checker.ValidationError, match="slope"):
        PellucidBackend.prepare(make_model([node], random_array(2), {}))
    with pytest.raises(TypeError, match="slope"):
        backend.run_node(node, [torch.ones(2)], 22)
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], stride=[2, 2])
    with pytest.raises(TypeError, match="no attribute stride; known: auto_pad"):
        backend.run_node(pool, [torch.ones(1, 1, 4, 4)], 22)


def test_a_model_of_two_nodes_equals_pytorch() -> None:
    x, weight, bias = random_array(2, 3, 8, 7), random_array(4, 3, 3, 2), random_array(4)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], strides=[2, 1], pads=[0, 1, 1, 0]),
        helper.make_node("LeakyRelu", ["h"], ["y"], alpha=0.25),
    ]
    onnx_model = make_model(nodes, x, {"w": weight, "b": bias})
    assert PellucidBackend.is_compatible(onnx_model)
    (y,) = PellucidBackend.run_model(onnx_model, [x])
    padded = F.pad(torch.tensor(x), (1, 0, 0, 1))
    expected = F.leaky_relu(F.conv2d(padded, torch.tensor(weight), torch.tensor(bias), (2, 1)), 0.25)
    assert y.shape == (2, 4, 4, 7)
    np.testing.assert_allclose(y, expected.numpy(), rtol=0, atol=1e-5)


def test_unsupported_models_are_skipped_with_a_reason() -> None:
    x = random_array(2, 3)
    unknown_model = make_model([helper.make_node("Neg", ["x"], ["y"])], x, {})
    assert not PellucidBackend.is_compatible(unknown_model)
    with pytest.raises(SkipCase, match="operator Neg"):
        PellucidBackend.run_model(unknown_model, [x])
    old_model = make_model([helper.make_node("Resize", ["x", "s"], ["y"])], x, {"s": np.ones(2, np.float32)}, opset=10)
    with pytest.raises(SkipCase, match="operator set 10"):
        PellucidBackend.run_model(old_model, [x])
    assert PellucidBackend.supports_device("CPU")
    assert not PellucidBackend.supports_device("CUDA")


def test_softmax_before_opset_13_flattens_the_later_axes() -> None:
    x = random_array(2, 3, 4)
    node = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    expected = torch.tensor(x).flatten(1).softmax(1).view(2, 3, 4)
    (old,) = PellucidBackend.run_model(make_model(node, x, {}, opset=12), [x])
    np.testing.assert_allclose(old, expected, rtol=0, atol=1e-6)
    (new,) = PellucidBackend.run_model(make_model(node, x, {}, opset=13), [x])
    np.testing.assert_allclose(new, torch.tensor(x).softmax(1), rtol=0, atol=1e-6)


def test_half_precision_is_skipped() -> None:
    with pytest.raises(SkipCase, match="dtype float16"):
        run_node("Relu", np.ones(3, np.float16))


def test_float64_inputs_are_computed_in_float64() -> None:
    a, b = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 5))
    (y,) = run_node("Gemm", a, b, alpha=0.5)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, (a @ b) / 2, rtol=0, atol=1e-14)


def test_integers_are_padded_exactly() -> None:
    x = np.array([[[[2**31 - 1, -7]]]], np.int32)
    (y,) = run_node("Pad", x, np.array([0, 0, 0, 1, 0, 0, 1, 0]), mode="edge")
    assert y.dtype == np.int32
    assert y.tolist() == [[[[2**31 - 1, 2**31 - 1, -7], [2**31 - 1, 2**31 - 1, -7]]]]


@pytest.mark.parametrize("order", [0, 1])
def test_indices_of_maxima_refer_to_the_image_without_padding(order: int) -> None:
    x = random_array(2, 3, 6, 5)
    y, indices = run_node("MaxPool", x, outputs=2, kernel_shape=[3, 2], pads=[2, 1, 0, 0], storage_order=order)
    padded = F.pad(torch.tensor(x), (1, 0, 2, 0), value=-torch.inf)
    np.testing.assert_array_equal(y, F.max_pool2d(padded, (3, 2), 1))
    planes = x.swapaxes(2, 3) if order else x
    np.testing.assert_array_equal(planes.flatten()[indices], y)


def test_global_pooling_of_a_single_node_equals_numpy() -> None:
    x = random_array(2, 3, 4, 5)
    (y,) = run_node("GlobalLpPool", x, p=3)
    np.testing.assert_allclose(y[..., 0, 0], (np.abs(x) ** 3).sum((2, 3)) ** (1 / 3), rtol=1e-5)
    (row,) = run_node("GlobalMaxPool", x[:, :, 0])
    np.testing.assert_array_equal(row[..., 0], x[:, :, 0].max(2))


def test_a_transposed_convolution_crops_each_edge_by_its_padding() -> None:
    x, weight = random_array(1, 2, 4, 5), random_array(2, 3, 3, 3)
    uncropped = F.conv_transpose2d(torch.tensor(x), torch.tensor(weight), stride=2).numpy()  # (1, 3, 9, 11)
    (cropped,) = run_node("ConvTranspose", x, weight, strides=[2, 2], pads=[0, 1, 2, 0])
    np.testing.assert_allclose(cropped, uncropped[:, :, :-2, 1:], rtol=0, atol=1e-5)
    (padded,) = run_node("ConvTranspose", x, weight, strides=[2, 2], output_shape=[8, 12], auto_pad="SAME_UPPER")
    np.testing.assert_allclose(
        padded, np.pad(uncropped, ((0, 0), (0, 0), (0, 0), (1, 0)))[:, :, :-1], rtol=0, atol=1e-5
    )


def test_average_pooling_excludes_padding_unless_it_is_counted() -> None:
    x = np.array([[[[1.0, 2.0, 4.0]]]], np.float32)
    (y,) = run_node("AveragePool", x, kernel_shape=[1, 2], auto_pad="SAME_UPPER")
    assert y.tolist() == [[[[1.5, 3.0, 4.0]]]]
    (y,) = run_node("AveragePool", x, kernel_shape=[1, 2], auto_pad="SAME_UPPER", count_include_pad=1)
    assert y.tolist() == [[[[1.5, 3.0, 2.0]]]]


def test_nearest_resizing_rounds_ties_to_the_earlier_pixel() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
    empty = np.array([], np.float32)
    (y,) = run_node("Resize", x, empty, empty, np.array([1, 1, 1, 2]))  # reads at 1/2 and 5/2, between two pixels
    assert y.flatten().tolist() == [0.0, 2.0]
    (y,) = run_node("Resize", x, empty, empty, np.array([1, 1, 1, 2]), nearest_mode="round_prefer_ceil")
    assert y.flatten().tolist() == [1.0, 3.0]


def test_a_later_update_of_adam_equals_its_formula() -> None:
    x, grad, mean, square = random_array(5), random_array(5), random_array(5), random_array(5) ** 2
    node = helper.make_node(
        "Adam", list("rtxgvh"), list("abc"), domain="ai.onnx.preview.training", alpha=0.9, beta=0.99, epsilon=0.01
    )
    inputs = [np.array(0.1, np.float32), np.array(3), x, grad, mean, square]
    results = _run_optimizer(node, inputs)
    new_mean, new_square = 0.9 * mean + 0.1 * grad, 0.99 * square + 0.01 * grad**2
    rate = 0.1 * np.sqrt(1 - 0.99**3) / (1 - 0.9**3)  # operator Adam, opset 1 of ai.onnx.preview.training
    expected = [x - rate * new_mean / (np.sqrt(new_square) + 0.01), new_mean, new_square]
    for actual, expected_array in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, expected_array, rtol=0, atol=1e-6)


def _run_optimizer(node: onnx.NodeProto, inputs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    graph = helper.make_graph(
        [node],
        "step",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(node.input, inputs, strict=True)
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [5]) for name in node.output],
    )
    imports = [helper.make_opsetid("ai.onnx.preview.training", 1), helper.make_opsetid("", 22)]
    return PellucidBackend.run_model(helper.make_model(graph, opset_imports=imports), inputs)


def test_a_layer_with_a_wrong_forward_pass_gives_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in all_published() if case.name == "test_maxpool_2d_default")
    forward = MaxPool2d.forward

    def scaled_forward(self: MaxPool2d, params: dict, x: torch.Tensor, mode: object) -> tuple:
        y, cache = forward(self, params, x, mode)
        return y * 1.001, cache

    monkeypatch.setattr(MaxPool2d, "forward", scaled_forward)
    assert check(case) > 1e-4
