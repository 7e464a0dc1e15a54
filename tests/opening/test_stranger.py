"""The tutorial on networks of timm: its code opens, examines and trains a network and loads the weights into timm."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

import pellucid
from pellucid.lessons.page import FENCE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "your-model.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed: pip install -e .[open]"),
]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the code of the page in a new folder and return the names that it defines, and "folder"."""
    folder = tmp_path_factory.mktemp("stranger")
    names: dict[str, Any] = {"__name__": "page", "folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in FENCE.findall(PAGE.read_text(encoding="utf-8")):
            exec(compile(block, PAGE.name, "exec"), names)
    return names


def timm_network(tutorial: dict[str, Any], file: str) -> Any:
    """Return timm's network with the weights of a file that the page writes, in evaluation mode."""
    network = tutorial["timm"].create_model("test_resnet", num_classes=10)
    network.load_state_dict(safetensors.torch.load_file(tutorial["folder"] / file))
    return network.eval()


def standardized(x: Tensor) -> Tensor:
    return (x - 0.5) / 0.5


@torch.no_grad()
def test_the_dead_channel_is_the_one_whose_removal_changes_nothing(tutorial: dict[str, Any]) -> None:
    network, x = timm_network(tutorial, "trained.safetensors"), standardized(tutorial["few"])
    expected, unchanged = network(x), []
    for channel in range(32):  # zeroed in timm by a hook, independently of the opened network
        hook = network.layer1[0].act1.register_forward_hook(
            lambda _, __, y, k=channel: y.index_fill(1, torch.tensor(k), 0)
        )
        if torch.equal(network(x), expected):
            unchanged.append(channel)
        hook.remove()
    assert tutorial["dead"] == unchanged == [5]


def test_the_gradients_of_the_dead_channel_equal_autograds(tutorial: dict[str, Any]) -> None:
    network, x = timm_network(tutorial, "trained.safetensors"), standardized(tutorial["few"])
    F.cross_entropy(network(x), tutorial["labels"], reduction="sum").backward()
    expected = network.layer1[0].conv1.weight.grad
    torch.testing.assert_close(tutorial["gradients"]["layer1.0.conv1.weight"], expected, rtol=1e-3, atol=1e-3)
    assert not expected[5].any()


@torch.no_grad()
def test_the_explained_mistake_is_also_made_by_timm(tutorial: dict[str, Any]) -> None:
    image, predicted, true = tutorial["image"], tutorial["said"], tutorial["true"]
    scores = timm_network(tutorial, "trained.safetensors")(standardized(image))[0]
    assert int(scores.argmax()) == predicted != true == int(tutorial["test_y"][tutorial["wrong"]])
    model = pellucid.open("timm:test_resnet", weights=tutorial["folder"] / "trained.safetensors", classes=10)
    ledger = model.ledger(image, target=predicted)
    assert ledger.score == pytest.approx(float(scores[predicted]), rel=1e-4)
    assert abs(ledger.gap) <= 1e-5 * abs(ledger.score)
    torch.testing.assert_close(
        ledger.map.sum(1)[0], tutorial["maps"][tutorial["names"][predicted]], rtol=1e-3, atol=1e-4
    )


@torch.no_grad()
def test_the_tuned_head_loads_into_timm_with_equal_outputs(tutorial: dict[str, Any]) -> None:
    before, after = (
        timm_network(tutorial, "trained.safetensors"),
        timm_network(tutorial, "for-timm.safetensors"),
    )
    x, y = standardized(tutorial["test_x"]), tutorial["test_y"]
    states = before.state_dict(), after.state_dict()
    assert {key for key in states[0] if not torch.equal(states[0][key], states[1][key])} == {"fc.weight", "fc.bias"}
    expected = after(x)
    for model in (tutorial["model"], pellucid.Model.load(tutorial["folder"] / "tuned.safetensors")):
        gap = float((model(tutorial["test_x"]) - expected).abs().max() / expected.abs().max())
        assert gap <= 1e-5
    accuracies = [(network(x).argmax(1) == y).float().mean() for network in (before, after)]
    assert accuracies[1] > accuracies[0]
