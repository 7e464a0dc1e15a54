"""Exported PyTorch files: modules with the outputs of the network, and weights named by its parameter paths."""

import importlib.util
import sys
import warnings
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.export import ParityError, to_torch, torch_files
from pellucid.export.torch_code.layers import CODERS, is_writable
from pellucid.export.torch_file import source
from pellucid.layers import LAYERS, Add, BatchNorm, Conv2d, Dense, Flatten, Identity, Layer, Mode, ReLU
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.operators import OPERATORS, Fixed, Learned, Plus, Times
from tests.export.samples import ALL_SAMPLES, ROI_LAYERS, draw_sample, flat_list
from tests.oracle import difference


def module_of(text: str) -> ModuleType:
    """Run the text of an exported file and return its module, whose `load` fails because no file exists."""
    module = ModuleType("exported")
    module.__file__ = "exported.py"
    exec(compile(text, "exported.py", "exec"), module.__dict__)
    return module


def load_module(net, params, shape) -> nn.Module:
    text, weights = source("exported", net, params, shape, None, None)
    module = module_of(text).network()
    module.load_state_dict(weights)
    return module.train(False)


@pytest.mark.parametrize("name", ALL_SAMPLES)
def test_every_layer_and_combinator_agrees_with_the_reference(name: str) -> None:
    sample = ALL_SAMPLES[name]
    params, xs, expected_outputs = draw_sample(sample)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")  # about speed
        y = load_module(sample.layer, params, sample.shape)(xs if len(xs) > 1 else xs[0])
    assert max(map(difference, flat_list(y), expected_outputs)) <= 2e-6


def test_every_layer_can_be_written() -> None:
    unwritable = {kind for kind in (*LAYERS, *OPERATORS) if not is_writable(kind)}
    assert unwritable == set(ROI_LAYERS), "give the others a method `torch_code`"
    assert not [kind for kind in CODERS if kind.torch_code is not Layer.torch_code], "written in two places"


def small_model(**options) -> Model:
    net = Sequential(conv=Conv2d(4, 3, bias=False), norm=BatchNorm(), relu=ReLU(), flat=Flatten(), scores=Dense(3))
    return Model(net, input_shape=(2, 8, 8), **options)


@pytest.mark.slow
def test_a_file_is_imported_and_gives_the_models_logits(tmp_path, monkeypatch) -> None:
    model = small_model(preprocess={"mean": [0.5, 0.1], "std": [0.2, 4.0]}, classes=["a", 'b"', "ü\n\U0001f44d'"])
    assert to_torch(model, tmp_path / "my_net.py").difference <= 1e-5
    assert {file.name for file in tmp_path.iterdir()} == {"my_net.py", "my_net_weights.safetensors"}
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("my_net", tmp_path / "my_net.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert module.CLASSES == ("a", 'b"', "ü\n\U0001f44d'")
    x = torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(module.load()(x).softmax(1), model.predict(x), atol=1e-6)


@pytest.mark.slow
def test_weights_have_the_paths_of_parameters(tmp_path) -> None:
    model = small_model()
    to_torch(model, tmp_path / "net.py")
    weights = load_file(tmp_path / "net_weights.safetensors")
    assert weights.keys() == model.weights.keys()
    assert all(torch.equal(weights[path], leaf) for path, leaf in model.weights.items())


def test_the_text_of_a_small_network_is_plain_pytorch_code(tmp_path) -> None:
    text, _ = source("net", small_model().net, small_model().params, (2, 8, 8), None, None)
    assert text.endswith(
        '''
def network() -> nn.Module:
    """Return the network with random weights."""
    return nn.Sequential(OrderedDict({
        "conv": nn.Conv2d(2, 4, 3, bias=False),
        "norm": nn.BatchNorm2d(4),
        "relu": nn.ReLU(),
        "flat": nn.Flatten(),
        "scores": nn.Linear(144, 3),
    }))


def load(weights: Path = WEIGHTS) -> nn.Module:
    """Return the network with its weights, in evaluation mode."""
    net = network()
    net.load_state_dict(load_file(weights))
    return net.train(False)
'''
    )
    assert "class " not in text
    assert "import torch\n" not in text


CHILD_NAMES = (
    "type", "train", "forward", "children", "half", "pop", "not a name", "class", '"', "é", "type_", "weights",
)  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda parts: Sequential(**parts),
        lambda parts: Fork(**parts),
        lambda parts: Parallel(parts, Add()),
        lambda parts: Graph(
            {"s": (Identity(), "names"), **{name: (part, "s") for name, part in parts.items()}},
            (*parts, "names"),
            ("names",),
        ),
    ],
)
def test_children_may_have_any_name(make) -> None:
    net = make({name: Dense(3) for name in CHILD_NAMES})
    params, _ = net.init((3,), torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = load_module(net, params, (3,))(x)
    expected_outputs, _ = net.forward(params, x, Mode())
    assert all(
        torch.allclose(one, other, atol=1e-6)
        for one, other in zip(flat_list(y), flat_list(expected_outputs), strict=True)
    )


def test_nodes_may_be_parameters_and_node_names_may_be_paths() -> None:
    nodes = {
        "pos": (Learned((1, 3)),),
        "pos.add": (Plus(), "x", "pos"),
        "block.type.scale": (Fixed((3,)),),
        "block": (Times(), "pos.add", "block.type.scale"),
    }
    net = Graph(nodes, ("block",), ("x",))
    rng = torch.Generator().manual_seed(0)
    params = {"pos": {"": torch.randn(1, 3, generator=rng)}, "block.type.scale": {"": torch.randn(3, generator=rng)}}
    params |= {"pos.add": {}, "block": {}}
    x = torch.randn(2, 3, generator=rng)
    module = load_module(net, params, (3,))
    assert set(module.state_dict()) == {"pos", "block.type_.scale"}
    assert [name for name, _ in module.named_parameters()] == ["pos"]
    assert torch.equal(module(x), (x + params["pos"][""]) * params["block.type.scale"][""])


@pytest.mark.slow
def test_code_that_differs_from_the_network_or_fails_is_not_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ReLU, "torch_code", lambda layer, shape: "nn.Sigmoid()")
    with pytest.raises(ParityError, match="the PyTorch file would differ from the network by"):
        to_torch(small_model(), tmp_path / "net.py")
    monkeypatch.setattr(ReLU, "torch_code", lambda layer, shape: "nn.Rectified()")
    with pytest.raises(ParityError, match=r"does not run, and is not written: AttributeError: .*Rectified"):
        to_torch(small_model(), tmp_path / "net.py")
    assert not list(tmp_path.iterdir())


def test_all_layers_without_pytorch_code_are_listed() -> None:
    class Mine(Flatten):
        pass

    with pytest.raises(PellucidError, match="no PyTorch code for the layers Mine; use pellucid's own"):
        torch_files("net", Sequential(a=Mine(), b=Mine()), {"a": {}, "b": {}}, (3,))
    with pytest.raises(PellucidError, match="the model has no weights yet"):
        to_torch(Model(Sequential(Dense(2))), "net.py")


def test_a_single_layer_is_exported_as_a_module() -> None:
    params, _ = Dense(3).init((2,), torch.Generator().manual_seed(0))
    module = load_module(Dense(3), params, (2,))
    assert isinstance(module, nn.Linear)
    assert set(module.state_dict()) == set(flatten(params))
