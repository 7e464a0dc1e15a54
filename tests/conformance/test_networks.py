"""The comparisons with networks of other libraries: every network has cases, and wrong networks fail."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest
import torch

from conformance.case import Case, Mismatch
from conformance.networks import cases
from conformance.networks.answer import Answer, PassResult
from conformance.networks.network import Network, without_dropout
from conformance.tally import Row
from pellucid.combine.base import map_layers, walk
from pellucid.layers import BatchNorm
from pellucid.models import MODELS, mobilenet_v2, resnet18, resnet34

pytestmark = pytest.mark.slow

REQUIRED_PACKAGES = ("keras", "onnxruntime", "transformers")
LIBRARIES = pytest.mark.real  # importing them and building their networks takes half a minute


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    """All cases; a case runs only when its `check` is called."""
    for package in REQUIRED_PACKAGES:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    return list(cases())


@LIBRARIES
def test_every_network_of_the_table_has_cases(all_cases: list[Case]) -> None:
    suites = list(dict.fromkeys(case.suite.rpartition(" ")[0] for case in all_cases if case.tolerance))
    names = ("VGG16", "VGG19", "ResNet50", "DenseNet121", "MobileNetV2", "InceptionV3")
    assert suites[:6] == [f"keras.applications {name}" for name in names]
    light = [f"onnx light {name}" for name in ("AlexNet", "GoogLeNet", "SqueezeNet 1.1", "ResNet-50")]
    assert suites[6:10] == light
    assert suites[10:] == [f"torch transformers ResNet-{depth}" for depth in (18, 34, 50)]
    assert {case.tolerance for case in all_cases if "float64" in case.name} == {1e-9}
    assert {case.tolerance for case in all_cases if "float32" in case.name} == {1e-4}


@LIBRARIES
def test_numbers_of_parameters_equal_the_published_ones(all_cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    count_cases = [case for case in all_cases if case.suite.startswith("torchvision documentation")]
    assert [case.check() for case in count_cases] == [0.0] * 23
    for count in ("61,100,840", "138,357,544", "25,557,032", "6,624,904", "7,978,856", "3,504,872"):
        assert sum(f"of {count} parameters" in case.suite for case in count_cases) == 1
    monkeypatch.setitem(MODELS, "resnet18", resnet34)
    with pytest.raises(Mismatch, match="resnet18 has 21,797,672 parameters, not 11,689,512"):
        next(case for case in count_cases if case.name == "resnet18").check()


def resnet18_answer(net_bias: float) -> Answer:
    """Return the results of a ResNet-18 of Hugging Face, with `net_bias` then added to the bias of its classifier."""
    from conformance.networks import transformers_resnet

    answer = transformers_resnet._ask((2, 2, 2, 2), transformers_resnet.BASIC_WIDTHS)
    name = "classifier.1.bias"
    return replace(answer, weights={**answer.weights, name: answer.weights[name] + net_bias})


@pytest.mark.heavy
@LIBRARIES
def test_a_wrong_weight_fails(all_cases: list[Case]) -> None:
    network = Network("x", "0", resnet18, resnet18(), partial(resnet18_answer, 1e-2), trains=True)
    result = {case.name: case.check() > case.tolerance for case in network.cases()}
    assert result["logits float32"]
    assert result["logits float64"]
    assert result["training, logits float64"]


@LIBRARIES
def test_a_different_epsilon_fails(all_cases: list[Case]) -> None:
    network = Network("x", "0", resnet18, resnet18(epsilon=1e-3), partial(resnet18_answer, 0.0), trains=True)
    row = Row("x", "0", "x.py", resnet18)
    for case in network.cases():
        assert not row.add(case)
    assert len(row.failures) == 8


def test_a_network_without_reference_pass_in_training_mode_fails() -> None:
    empty_pass = PassResult(torch.ones(1, 2), torch.ones(1, 3, 2, 2), {}, {})
    answer = Answer({}, torch.ones(1, 3, 2, 2), torch.ones(1, 2), torch.ones(1, 2), empty_pass, None)
    network = Network("x", "0", mobilenet_v2, mobilenet_v2(), lambda: answer, trains=False)
    with pytest.raises(Mismatch, match="no pass in training mode"):
        network.reference_pass(train=True)


def test_dropout_is_removed_and_norms_report_the_last_batch() -> None:
    net = map_layers(mobilenet_v2(), without_dropout)
    params, _ = net.init((3, 32, 32), torch.Generator().manual_seed(0))
    norms = [layer for _, layer in walk(net) if isinstance(layer, BatchNorm)]
    assert len(norms) == 52
    assert {norm.momentum for norm in norms} == {1.0}
    assert params["head"]["dropout"] == {}
