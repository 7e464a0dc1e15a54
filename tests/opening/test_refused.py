"""Networks that `pellucid.open` refuses with a one-line error, and similar networks that it opens."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.networks import ResNet
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, images


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.logcumsumexp(x, 1)) + torch.logcumsumexp(x, 2)


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sinh(x)


def test_all_operators_without_a_layer_are_named_in_one_error() -> None:
    with pytest.raises(PellucidError) as caught:
        pellucid.open(Unknown(), images(2))
    assert str(caught.value) == (
        "open: no layer for 2 operators: logcumsumexp, 2 calls, first in the network itself; sinh, 1 call, first in "
        "inner"
    )
    assert caught.value.__notes__[0].endswith('pellucid.register_op("aten.logcumsumexp", Logcumsumexp)')


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2, 3)) / x.shape[0] ** 2


def test_a_number_of_examples_squared_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"div \(other depends on the number of examples\)"):
        pellucid.open(Counting(), images(2))


class Flattening(nn.Module):
    """A network for one example: its first axis is lost, in one of the ways of `lose`."""

    def __init__(self, lose: Any) -> None:
        super().__init__()
        self.lose, self.fc = lose, nn.Linear(3 * 6 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lose(x))


@pytest.mark.parametrize(
    "lose", [lambda x: x.view(-1), lambda x: x.flatten(), lambda x: x.squeeze(0).reshape(-1), lambda x: x.ravel()[None]]
)
def test_a_network_for_a_single_example_is_refused_as_such(lose: Any) -> None:
    network = Flattening(lose)
    assert network(torch.rand(1, 3, 6, 8)).numel() == 4
    with pytest.raises(PellucidError, match=r"Flattening takes a single example, not several at once") as caught:
        pellucid.open(network, torch.rand(1, 3, 6, 8))
    assert "x.flatten(1)" in str(caught.value)


def test_inputs_in_a_dictionary_are_refused_with_advice() -> None:
    example = {"left": torch.rand(1, 3), "right": torch.rand(1, 3)}
    with pytest.raises(PellucidError, match=r"takes its tensors one by one .* \{'left': \.\.\., 'right': \.\.\.\}"):
        pellucid.open(nn.Linear(3, 2), (example, torch.rand(1, 3)))  # type: ignore[arg-type]


class OneMore(nn.Module):
    """A network that appends an example, so one of its sizes is the number of examples plus one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x[:1]]).mean((1, 2)).reshape(1, -1).repeat(len(x), 1)


def test_a_size_that_is_no_multiple_of_the_number_of_examples_is_refused() -> None:
    with pytest.raises(PellucidError, match="computes something else for another number of examples: shape "):
        pellucid.open(OneMore(), images(2))


class Coincidence(nn.Module):
    """A network whose own sizes, 211 and 223, equal the numbers of examples that the export tries first."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.gain = nn.Linear(768, 211), nn.Parameter(torch.rand(223))

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.dense(x.flatten(1)).view(-1, 211), (6, 6)).reshape(len(x), 223) * self.gain


def test_sizes_of_parameters_are_not_mistaken_for_numbers_of_examples() -> None:
    network, x = Coincidence().double(), images(4)
    torch.testing.assert_close(pellucid.open(network, images(2))(x), network(x).detach())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Weighed(nn.Module):
    def __init__(self, operator: str) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return getattr(x.flatten(1), self.operator)(len(x))


@pytest.mark.parametrize("operator", ["mul", "add", "sub", "div", "pow"])
def test_an_operator_that_uses_the_number_of_examples_as_a_value_is_refused(operator: str) -> None:
    with pytest.raises(PellucidError, match=f"{operator} .* depends on the number of examples"):
        pellucid.open(Weighed(operator), images(2))


def test_control_flow_on_values_is_refused_in_one_line() -> None:
    with pytest.raises(PellucidError, match="open: the forward of Branching branches on a tensor") as caught:
        pellucid.open(Branching(), images(2))
    assert "\n" not in str(caught.value)


def test_the_error_for_control_flow_names_module_and_line_and_a_module_that_opens() -> None:
    network = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 3, 1), tail=nn.Sequential(nn.ReLU(), Branching()))).double()
    with pytest.raises(
        PellucidError, match=r"; in tail\.1, test_refused\.py line \d+: return x \* 2 if x\.sum\(\) > 0"
    ) as caught:
        pellucid.open(network, images(2))
    assert str(caught.value).endswith("; a module without it can be opened, network.get_submodule('stem')")
    assert "\n" not in str(caught.value)
    pellucid.open(network.get_submodule("stem"), images(2))


class Alone(nn.Module):
    """A network that cannot be traced, nor can its only module; its methods call the instance `this`."""

    def __init__(this) -> None:  # noqa: N805
        super().__init__()
        this.branch = Branching()

    def forward(this, x: Tensor) -> Tensor:  # noqa: N805
        return this.branch(x) if x.mean() > 0 else x


def test_the_error_for_a_network_without_a_module_that_opens_names_its_line() -> None:
    with pytest.raises(PellucidError, match=r"in its forward, test_refused\.py line \d+: return this") as caught:
        pellucid.open(Alone(), images(2))
    assert "get_submodule('branch')" in str(caught.value)
    with pytest.raises(PellucidError, match=r"in 0, test_refused\.py line \d+: return x \* 2") as caught:
        pellucid.open(nn.Sequential(Branching()), images(2))
    assert "get_submodule" not in str(caught.value)


class Applied(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.vector = nn.Parameter(torch.rand(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _, x: x.mean((1, 2, 3)) + torch.ones(len(x) + 1)[1:] * torch.arange(len(x)), "number of examples"),
        (lambda _, x: (x.sum((1, 2, 3)), torch.arange(len(x)) * 2.0), "an output of the network: it reads a constant"),
        (lambda _, x: x[: len(x) // 2], "has the shape"),
        (lambda _, x: x / len(x) ** 0.5, "the number of examples|differs from the network's"),
    ],
)
def test_functions_that_cannot_be_opened_are_refused_in_one_line(function: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(Applied(function).double(), images(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: F.pixel_shuffle(x[:, None].repeat(1, 2, 4, 1, 1), 2),
        lambda self, x: F.linear(x, self.vector),
        lambda _, x: F.cosine_similarity(x, x.flip(1) - 1, dim=2),
        lambda _, x: F.pairwise_distance(x, x.flip(3)),
        lambda self, x: torch.addcdiv(x, self.vector, x.exp(), value=0.5),
        lambda _, x: torch.logit(x.sigmoid()),
        lambda self, x: torch.maximum(x, self.vector) - torch.minimum(x, x.round()),
        lambda self, x: torch.max(x.relu(), torch.zeros_like(x)) * x.max(),
        lambda self, x: torch.clamp(x, min=self.vector - 0.5, max=self.vector),
        lambda self, x: 2.0**x + (x.abs() + 0.5) ** self.vector,
    ],
)
def test_operators_without_a_layer_open_as_the_operators_of_which_pytorch_composes_them(function: Any) -> None:
    network, x = Applied(function).double(), images(3)
    model = pellucid.open(network, x)
    dy = torch.ones_like(network(x))
    torch.testing.assert_close(model(x), network(x).detach(), rtol=1e-10, atol=1e-12)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))


class Pretending(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if torch.compiler.is_exporting() else x * 3


@pytest.mark.parametrize(
    ("open_arguments", "message"),
    [
        ((3, images(2)), "not int"),
        (("model.pt", images(2)), "model.pt is neither an ONNX file"),
        ((ResNet(), images(2).long()), "the example is int64, and ResNet computes with floats; give example.float"),
        ((ResNet(), torch.zeros(0, 3, 16, 16)), "tensor .* of floats"),
        ((ResNet(), None), "ResNet needs an example of its input"),
    ],
)
def test_arguments_that_are_not_networks_or_examples_are_refused(open_arguments: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        pellucid.open(*open_arguments)


def test_a_network_that_computes_something_else_under_export_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"open: output 0 differs from the network's by .* something else at each"):
        pellucid.open(Pretending(), images(2))


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().exp().to(x.dtype).flatten(1)


def test_a_network_that_computes_in_float32_opens_in_float32_only() -> None:
    message = r"differs from the network's by .*; inner computes in float32: open the network in float32"
    network = nn.Sequential(OrderedDict(inner=Rounding()))
    with pytest.raises(PellucidError, match=message):
        pellucid.open(network, images(2))
    x = images(2).float()
    torch.testing.assert_close(pellucid.open(network, x)(x), network(x), rtol=1e-6, atol=0)


class Unbatched(nn.Module):
    """A network without a limit on the number of axes, which uses an operator without a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.logcumsumexp(x, -1)


def two_inputs() -> nn.Module:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3)) + self.conv(y).mean((2, 3))

    return TwoInputs()


@pytest.mark.parametrize(
    ("network", "example", "message"),
    [
        (nn.Conv2d(3, 4, 3), torch.rand(3, 8, 8), "its shape is (3, 8, 8), and Conv2d takes (1, 3, 8, 8); give"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)),
            torch.rand(1, 8, 8),
            "its shape is (1, 8, 8), and Sequential takes (1, 1, 8, 8); give example[None]",
        ),
        (nn.Conv1d(2, 4, 3), torch.rand(2, 9), "its shape is (2, 9), and Conv1d takes (1, 2, 9); give example[None]"),
        (two_inputs(), (torch.rand(3, 8, 8),) * 2, "(1, 3, 8, 8), (1, 3, 8, 8); give example[None] for each of them"),
    ],
)
def test_an_example_without_batch_axis_is_refused(network: nn.Module, example: Any, message: str) -> None:
    with pytest.raises(PellucidError) as caught:
        pellucid.open(network, example)
    assert str(caught.value).startswith("open: the example has no batch axis: ")
    assert message in str(caught.value)
    assert caught.value.__suppress_context__


def test_other_faults_are_reported_of_a_network_that_takes_the_example() -> None:
    assert pellucid.open(nn.Linear(8, 2), torch.rand(3, 5, 8)).input_shape == (5, 8)
    for shape in ((3, 8, 8), (2, 8)):
        with pytest.raises(PellucidError, match="no layer for 1 operator: logcumsumexp"):
            pellucid.open(Unbatched(), torch.rand(shape))


class OnValues(nn.Module):
    """A network whose forward is a function of the instance and x."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.dense = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def checked_forward(network: OnValues, x: Tensor) -> Tensor:
    assert x.max() < 100
    return network.dense(x)


def looping_forward(network: OnValues, x: Tensor) -> Tensor:
    while x.norm() > 1:
        x = x / 2
    return network.dense(x)


def counting_forward(network: OnValues, x: Tensor) -> Tensor:
    for _ in range(int(x.sum())):
        x = x + 1
    return network.dense(x)


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (checked_forward, "assert x.max() < 100"),
        (looping_forward, "while x.norm() > 1:"),
        (counting_forward, "for _ in range(int(x.sum())):"),
    ],
)
def test_branches_on_values_are_named_with_their_line_and_what_to_do(function: Any, code: str) -> None:
    with pytest.raises(PellucidError) as caught:
        pellucid.open(OnValues(function), torch.rand(2, 4))
    message = str(caught.value)
    assert message.startswith("open: the forward of OnValues branches on a tensor's value; choose between two results")
    assert f": {code}" in message
    assert "test_refused.py line " in message
    assert "GuardOnDataDependent" not in message
    assert caught.value.__suppress_context__  # a traceback of PyTorch's hundreds of lines is not shown


def test_a_slice_to_a_tensors_value_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"slice \(an end depends on a tensor's value\)"):
        pellucid.open(OnValues(lambda network, x: network.dense(x)[:, : x.sum().int()]), torch.rand(2, 4))


@pytest.mark.parametrize("options", [{}, {"input_shape": (3, 32, 32)}])
def test_a_missing_example_is_shown(options: dict[str, Any]) -> None:
    with pytest.raises(PellucidError, match=r"pellucid\.open\(network, torch\.rand\(1, ") as caught:
        pellucid.open(nn.Conv2d(3, 4, 3), **options)
    assert ("input_shape" in str(caught.value)) == ("input_shape" in options)
    with pytest.raises(PellucidError, match="open takes an example instead of input_shape"):
        pellucid.open(nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8), input_shape=(3, 16, 16))
