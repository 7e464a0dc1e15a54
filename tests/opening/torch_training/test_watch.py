"""pellucid.watch records a loop without changing it, and its folder is read by the doctor and as a model."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import load
from pellucid.model import Model
from pellucid.run.history import History, read_csv

N_STEPS = 7


class Net(nn.Module):
    def __init__(self, ending: nn.Module | None = None):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(144, 10)
        self.ending = ending or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.ending(self.fc(self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1)))


def parts(**options: Any) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = Net(**options)
    return network, nn.CrossEntropyLoss(), torch.optim.AdamW(network.parameters(), lr=0.01)


def train(network: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer, record: Any = None) -> None:
    """Train, and validate once after the fourth step."""
    digits = load("digits").train
    for step in range(N_STEPS):
        x, y = digits.x[step * 16 : step * 16 + 16], digits.y[step * 16 : step * 16 + 16]
        optimizer.zero_grad()
        loss = criterion(network(x), y)
        loss.backward()
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        optimizer.step()
        if record is not None:
            record(step, loss.item(), before)
        if step == 3:
            network.eval()
            with torch.no_grad():
                criterion(network(digits.x[500:600]), digits.y[500:600])
            network.train()


def test_a_watched_training_is_bitwise_the_training(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    train(network, criterion, optimizer)
    state = torch.get_rng_state()
    watched, criterion, optimizer = parts()
    pellucid.watch(watched, optimizer, loss=criterion, folder=tmp_path, every=3)
    train(watched, criterion, optimizer)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, tensor), other in zip(network.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name


def test_rows_are_what_the_loop_computes(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    watch = pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path, every=3)
    losses: list[float] = []
    norms: list[dict[str, float]] = []
    ratios: list[dict[str, float]] = []

    def record(step: int, loss: float, before: dict[str, Tensor]) -> None:
        losses.append(loss)
        parameters = dict(network.named_parameters())
        norms.append({name: float(parameter.grad.norm()) for name, parameter in parameters.items()})
        updates = {name: parameter.detach() - before[name] for name, parameter in parameters.items()}
        ratios.append({name: float(update.norm() / before[name].norm()) for name, update in updates.items()})

    with torch.no_grad():
        network.norm.bias.fill_(0.5)  # a size of 0 has no ratio
    train(network, criterion, optimizer, record)
    history = History.read(tmp_path)
    assert history["step"] == [1, 4, 7]
    expected = [losses[0], sum(losses[1:4]) / 3, sum(losses[4:7]) / 3]
    assert history["train_loss"] == pytest.approx(expected)
    assert history["val_loss"][:2] == [None, None]
    assert history["val_loss"][2] is not None
    for number, step in ((1, 0), (2, 3), (3, 6)):
        rows = {row["path"]: row for row in history.layers if row["epoch"] == number}
        assert rows.keys() == norms[step].keys()
        for path, row in rows.items():
            assert row["grad_norm"] == pytest.approx(norms[step][path], rel=1e-4)
            assert row["update_ratio"] == pytest.approx(ratios[step][path], rel=1e-4)
    activations = read_csv(tmp_path / "activations.csv")
    assert {row["path"] for row in activations} == {"conv", "norm", "drop", "fc", "ending"}
    assert watch.fault is None
    assert not (tmp_path / "error.json").exists()


class Logarithm(nn.Module):
    """A layer that returns NaN from its fourth call in training on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return x - 1000 if self.calls < 4 else (x - 1000).log()


def test_the_first_nan_is_named_with_its_layer_and_step(tmp_path: Path) -> None:
    network, criterion, optimizer = parts(ending=Logarithm())
    watch = pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path)
    train(network, criterion, optimizer)
    error = json.loads((tmp_path / "error.json").read_text())
    assert error["step"] == 4
    assert error["fault"]["path"] == "ending"
    assert error["fault"]["kind"] == "output"
    assert watch.fault is not None


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watch = pellucid.watch(network, optimizer, folder=tmp_path)
    x = torch.ones(3, 2)
    loss = (network(x) * 0).abs().sqrt().sum()  # the slope of the square root at 0 is infinite
    loss.backward()
    optimizer.step()
    assert watch.fault is not None
    assert watch.fault.fault.kind == "gradient"
    assert watch.fault.fault.path == "1.bias"


@pytest.mark.parametrize("given", ["inputs", "keywords"])
def test_a_gradient_of_a_closure_is_checked_after_the_step(tmp_path: Path, given: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    watch = pellucid.watch(network, optimizer, folder=tmp_path)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (network(torch.ones(3, 2)) * 0).abs().sqrt().sum()
        loss.backward()
        return loss.item()

    if given == "inputs":
        optimizer.step(closure)
    else:
        optimizer.step(closure=closure)
    assert watch.fault is not None
    assert (watch.fault.fault.kind, watch.fault.step) == ("gradient", 1)


def test_closing_writes_what_came_after_the_last_row(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    watch = pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path, every=5)
    losses: list[float] = []
    train(network, criterion, optimizer, lambda step, loss, before: losses.append(loss))
    watch.close()
    watch.close()  # again has nothing to write
    history = History.read(tmp_path)
    assert history["step"] == [1, 6, N_STEPS]
    assert history["train_loss"][-1] == pytest.approx(losses[-1])
    x = load("digits").test.x[:5]
    with torch.no_grad():
        torch.testing.assert_close(pellucid.Model.load(tmp_path)(x), network.eval()(x))


def test_closing_writes_the_loss_of_a_validation_after_the_last_row(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    watch = pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path, every=N_STEPS - 1)
    train(network, criterion, optimizer)
    digits = load("digits").test
    network.eval()
    with torch.no_grad():
        loss = float(criterion(network(digits.x), digits.y))
    watch.close()
    history = History.read(tmp_path)
    assert history["step"] == [1, N_STEPS]
    assert history["val_loss"][-1] == pytest.approx(loss)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_a_network_that_cannot_be_copied_has_no_weights(tmp_path: Path, capsys: Any) -> None:
    network = Net()
    network.fc = nn.utils.weight_norm(network.fc)
    network(torch.rand(2, 1, 8, 8))  # computes the weight, which is then no leaf
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    pellucid.watch(network, optimizer, folder=tmp_path)
    train(network, nn.CrossEntropyLoss(), optimizer)
    assert "gets no weights, since the network cannot be copied" in capsys.readouterr().err
    assert History.read(tmp_path)["step"] == [1]


def test_inputs_by_name_are_seen(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    pellucid.watch(network, optimizer, folder=tmp_path)
    digits = load("digits").train
    criterion(network(x=digits.x[:16]), digits.y[:16]).backward()
    optimizer.step()
    with torch.no_grad():
        expected = network.eval()(digits.x[:5])
    torch.testing.assert_close(pellucid.Model.load(tmp_path)(digits.x[:5]), expected)


def test_a_network_without_a_tensor_as_input_is_noted(tmp_path: Path, capsys: Any) -> None:
    class Batched(Net):
        def forward(self, x: Any) -> Tensor:
            return super().forward(x["x"])

    network = Batched()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    pellucid.watch(network, optimizer, folder=tmp_path)
    network({"x": torch.rand(2, 1, 8, 8)}).sum().backward()
    optimizer.step()
    assert "gets no weights, since the network's first argument was never a tensor" in capsys.readouterr().err


def test_a_network_watched_twice_has_two_records_and_its_copy_none(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    for name in ("first", "second"):
        pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path / name, every=3)
    averaged = copy.deepcopy(network)
    averaged.train()
    averaged(torch.full((2, 1, 8, 8), torch.nan))
    train(network, criterion, optimizer)
    x = load("digits").test.x[:5]
    saved = [pellucid.Model.load(tmp_path / name)(x) for name in ("first", "second")]
    with torch.no_grad():
        expected = network.eval()(x)
    for outputs in saved:
        torch.testing.assert_close(outputs, expected)
    texts = [(tmp_path / name / "activations.csv").read_text() for name in ("first", "second")]
    assert texts[0] == texts[1]
    assert not (tmp_path / "first" / "error.json").exists()


def test_the_folder_is_a_model_that_the_doctor_reads(tmp_path: Path, capsys: Any) -> None:
    network, criterion, optimizer = parts()
    watch = pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path, every=6)
    train(network, criterion, optimizer)
    watch.close()
    x = load("digits").test.x[:5]
    with torch.no_grad():
        torch.testing.assert_close(pellucid.Model.load(tmp_path)(x), network.eval()(x))
    assert main(["doctor", str(tmp_path), "--data", "digits", "--json"]) == 0
    assert "findings" in json.loads(capsys.readouterr().out)


def test_a_folder_with_a_training_and_a_loss_function_are_refused(tmp_path: Path) -> None:
    network, criterion, optimizer = parts()
    with pytest.raises(PellucidError, match="loss must be a module"):
        pellucid.watch(network, optimizer, loss=nn.functional.cross_entropy, folder=tmp_path)  # type: ignore[arg-type]
    pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path)
    train(network, criterion, optimizer)
    with pytest.raises(PellucidError, match="has a training already"):
        pellucid.watch(network, optimizer, folder=tmp_path)


def test_the_weights_before_a_nan_and_the_loss_of_the_loop_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss(weight=torch.linspace(1, 2, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    pellucid.watch(network, optimizer, loss=criterion, folder=tmp_path, every=1)
    digits = load("digits").train
    for step in range(6):
        optimizer.zero_grad()
        criterion(network(digits.x[:16] * (torch.nan if step == 4 else 1)), digits.y[:16]).backward()
        optimizer.step()
    model = Model.load(tmp_path / "weights/last.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in model.weights.values())
    assert model.loss.class_weights == pytest.approx(torch.linspace(1, 2, 10).tolist())
    assert (tmp_path / "error.json").exists()


@pytest.mark.parametrize("wrong", ["network", "optimizer"])
def test_other_objects_are_refused(wrong: str, tmp_path: Path) -> None:
    network, _, optimizer = parts()
    given: dict[str, Any] = {"network": network, "optimizer": optimizer, wrong: None}
    with pytest.raises(PellucidError, match=r"give the network, an nn\.Module, and its optimizer"):
        pellucid.watch(given["network"], given["optimizer"], folder=tmp_path)
