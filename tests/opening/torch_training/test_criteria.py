"""Criteria of a user's own, which PyTorch computes from the outputs as the network returns them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, check_equal
from tests.opening.torch_training.test_given_back import loader, parts


class TwoHeads(nn.Module):
    """A network that returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = parts().network
        self.aux = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x)
        return {"out": y, "aux": self.aux(y.tanh())}


def test_a_criterion_of_a_dict_of_outputs_is_computed_by_pytorch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def criterion(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs["out"], target) + 0.4 * outputs["aux"].pow(2).mean()

    def made() -> Parts:
        torch.manual_seed(0)
        network = TwoHeads()
        return Parts(network, criterion, torch.optim.Adam(network.parameters(), lr=0.01))

    training = check_equal(made, lambda: (loader(), None), 5)
    assert "PyTorch computes the loss criterion and its gradient" in capsys.readouterr().err
    assert training.verify(2).ok
    with pytest.raises(PellucidError, match="no run folder can contain a loss that PyTorch computes"):
        training.fit(1, run=tmp_path)


class InContainers(nn.Module):
    """A network whose outputs are nested, with None among them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Any:
        y = self.head(x.flatten(1))
        return {"out": [y], 1: (y.tanh(), None)}


@pytest.mark.parametrize("alone", [True, False])
def test_a_criterion_gets_the_outputs_as_the_network_returns_them(alone: bool) -> None:
    def criterion(outputs: Any, y: Tensor) -> Tensor:
        if alone:
            return nn.functional.cross_entropy(outputs[0], y)
        assert outputs[1][1] is None
        return nn.functional.cross_entropy(outputs["out"][0], y) + outputs[1][0].square().mean()

    class Alone(nn.Sequential):
        def forward(self, input: Tensor) -> Any:
            return [super().forward(input)]

    def made() -> Parts:
        torch.manual_seed(0)
        network = (Alone(nn.Flatten(), nn.Linear(36, 4)) if alone else InContainers()).double()
        return Parts(network, criterion, torch.optim.SGD(network.parameters(), lr=0.1))

    check_equal(made, lambda: ([*loader()], None), 2)
