"""What from_torch refuses, and the state of PyTorch's objects after interrupted, failed and resumed trainings."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import pellucid
from pellucid import Callback
from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, assert_equal, check_equal


def loader(**options: Any) -> DataLoader[Any]:
    x = torch.rand(24, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.randint(0, 4, (24,), generator=torch.Generator().manual_seed(2))
    return DataLoader(TensorDataset(x, y), batch_size=6, **options)


def parts() -> Parts:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)]
    network = nn.Sequential(*layers).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    return Parts(network, nn.CrossEntropyLoss(), optimizer, lr_scheduler.StepLR(optimizer, 1, 0.5))


class Interrupt(Callback):
    """Raise an error after a number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, training: Any) -> None:
        if training.step == self.step:
            raise KeyboardInterrupt


def test_after_an_interruption_the_last_step_is_given_back() -> None:
    ours, theirs = parts(), parts()
    with pytest.raises(KeyboardInterrupt):
        ours.taken(loader()).fit(3, callbacks=[Interrupt(6)], verbose=False)
    theirs.loop(loader(), 1)
    scheduler, theirs.scheduler = theirs.scheduler, None
    theirs.loop([*loader()][:2], 1)
    theirs.scheduler = scheduler
    assert_equal(ours, theirs)


def test_fit_continues_what_pytorch_began_and_the_other_way_round() -> None:
    ours, theirs = parts(), parts()
    ours.loop(loader(), 1)
    training = ours.taken(loader())
    training.fit(1, verbose=False)
    ours.loop(loader(), 1)
    training.fit(2, verbose=False)
    theirs.loop(loader(), 5)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.Adafactor, lambda p, lr: torch.optim.SGD(p, lr, 0.9)])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, make: Any) -> None:
    def made() -> Parts:
        result = parts()
        result.optimizer = make(result.network.parameters(), lr=0.01)
        result.scheduler = lr_scheduler.ExponentialLR(result.optimizer, 0.7)
        return result

    with pytest.raises(KeyboardInterrupt):
        made().taken(loader()).fit(3, callbacks=[Interrupt(6)], run=tmp_path, checkpoint_seconds=0, verbose=False)
    ours, theirs = made(), made()
    ours.taken(loader()).fit(3, run=tmp_path, resume=True, verbose=False)
    theirs.loop(loader(), 3)
    assert_equal(ours, theirs)


def random_sampler() -> RandomSampler:
    return RandomSampler(range(24), generator=torch.Generator().manual_seed(5))


SAMPLERS: dict[str, Any] = {
    "sampler": lambda: loader(sampler=random_sampler()),
    "batch sampler": lambda: DataLoader(
        loader().dataset, batch_sampler=BatchSampler(random_sampler(), 6, drop_last=False)
    ),
    "batches by a sampler": lambda: DataLoader(
        loader().dataset, sampler=BatchSampler(random_sampler(), 6, drop_last=False), batch_size=None
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_with_its_own_generator_draws_the_same_batches(name: str) -> None:
    check_equal(parts, lambda: (SAMPLERS[name](), None), 2, lambda made, batches, epochs, _: made.loop(batches, epochs))


@pytest.mark.parametrize("criterion", [nn.BCEWithLogitsLoss, nn.MSELoss])
def test_one_number_for_each_example_without_an_axis(criterion: Any) -> None:
    def made() -> Parts:
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.Flatten(0)).double()
        return Parts(network, criterion(), torch.optim.SGD(network.parameters(), lr=0.1))

    x, labels = loader().dataset[:]
    y = (labels > 1).double()
    batches = DataLoader(TensorDataset(x, y), batch_size=6)
    check_equal(made, lambda: (batches, batches), 2)
    trained = made()
    history = trained.taken(batches, batches).fit(2, verbose=False)
    if criterion is nn.BCEWithLogitsLoss:
        is_correct = (trained.network(x) >= 0) == (y == 1)
        assert history["val_accuracy"][-1] == pytest.approx(float(is_correct.double().mean()))


@pytest.mark.parametrize("criterion", [nn.BCEWithLogitsLoss, nn.MSELoss, nn.L1Loss])
def test_masks_without_an_axis_of_classes(criterion: Any) -> None:
    def made() -> Parts:
        network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(1, 2)).double()
        return Parts(network, criterion(), torch.optim.SGD(network.parameters(), lr=0.1))

    x = loader().dataset[:][0]
    batches = DataLoader(TensorDataset(x, (x[:, 0] > 0).double()), batch_size=6)
    check_equal(made, lambda: (batches, batches), 2)
    assert "val_accuracy" not in made().taken(batches, batches).fit(1, verbose=False).last


@pytest.mark.parametrize("criterion", [nn.BCEWithLogitsLoss, nn.MSELoss, nn.L1Loss])
def test_the_doctor_examines_one_number_for_each_example_without_an_axis(criterion: Any) -> None:
    torch.manual_seed(0)
    x = torch.rand(240, 5)
    y = (x.sum(1) > 2.5).float() if criterion is nn.BCEWithLogitsLoss else 100 * x.sum(1)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
    batches = [DataLoader(TensorDataset(x[part], y[part]), batch_size=16) for part in (slice(160), slice(160, 240))]
    training = Parts(network, criterion(), torch.optim.SGD(network.parameters(), lr=1e-6)).taken(*batches)
    training.fit(3, verbose=False)
    assert len(training.doctor().checks) > 20  # no experiment ends with an error


def test_doctor_verify_trace_and_steps_change_no_object() -> None:
    ours, theirs = parts(), parts()
    ours.loop(loader(), 1)
    theirs.loop(loader(), 1)
    state = torch.get_rng_state()
    training = ours.taken(loader(shuffle=True))
    training.doctor(epochs=2)
    assert training.verify(2).ok
    training.trace().step()
    training.explain()
    assert_equal(ours, theirs)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_step_of_a_trace_is_the_next_step_of_pytorch() -> None:
    ours = parts()
    ours.scheduler = None
    stepped = ours.taken(loader()).trace().step()
    x, y = next(iter(loader()))
    ours.network.eval()  # a trace is of evaluation mode
    ours.criterion(ours.network(x), y).backward()
    ours.optimizer.step()
    for name, parameter in ours.network.named_parameters():
        torch.testing.assert_close(stepped[name], parameter.detach(), rtol=1e-9, atol=1e-12)


def test_a_norm_in_evaluation_mode_keeps_its_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    def frozen() -> Parts:
        result = parts()
        result.network[1].requires_grad_(False)
        result.network.train()
        result.network[1].eval()
        result.optimizer = torch.optim.SGD([p for p in result.network.parameters() if p.requires_grad], lr=0.1)
        result.scheduler = None
        return result

    ours, theirs = frozen(), frozen()
    ours.taken(loader()).fit(2, verbose=False)
    assert "from_torch: 1 stays in evaluation mode" in capsys.readouterr().err
    for x, y in [*loader(), *loader()]:
        theirs.optimizer.zero_grad()
        theirs.criterion(theirs.network(x), y).backward()
        theirs.optimizer.step()
    assert_equal(ours, theirs)


class Unused(nn.Module):
    """A network with a parameter on which no output depends."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x) + self.unused(x).detach()


def test_parameters_without_a_gradient_are_not_decayed() -> None:
    torch.manual_seed(0)
    network = Unused()
    before = copy.deepcopy(network.unused.weight)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    batches = DataLoader(TensorDataset(torch.rand(8, 4), torch.randint(3, (8,))), batch_size=4)
    pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=batches).fit(2, verbose=False)
    assert torch.equal(network.unused.weight, before)
    assert network.unused.weight not in optimizer.state


def other_parameters(made: Parts) -> None:
    made.optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


class Rows(nn.Module):
    """An LSTM that reads the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(6, 4, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x[:, 0])[0][:, -1]


class RowAttention(nn.Module):
    """The rows of an image, which attend to each other."""

    def __init__(self, kind: type[nn.MultiheadAttention] = nn.MultiheadAttention, need_weights: bool = True) -> None:
        super().__init__()
        self.attention, self.head = kind(6, 2, dropout=0.5, batch_first=True), nn.Linear(36, 4)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        return self.head(self.attention(rows, rows, rows, need_weights=self.need_weights)[0].flatten(1))


class OwnAttention(nn.MultiheadAttention):
    """A class whose own forward pass decides what it drops."""

    def forward(self, *values: Any, **options: Any) -> Any:
        return super().forward(*values, **options)


REFUSED: dict[str, tuple[Any, str]] = {
    "LBFGS": (lambda made: setattr(made, "optimizer", torch.optim.LBFGS(made.network.parameters())), "LBFGS"),
    "own optimizer": (
        lambda made: setattr(made, "optimizer", type("Lion", (torch.optim.SGD,), {})(made.network.parameters(), lr=1)),
        "Lion is not an optimizer of torch.optim",
    ),
    "no optimizer": (lambda made: setattr(made, "optimizer", "adam"), "must be a torch.optim.Optimizer, not str"),
    "other parameters": (other_parameters, "2 parameters of the optimizer are not the network's"),
    "reduction": (lambda made: setattr(made, "criterion", nn.CrossEntropyLoss(reduction="none")), "'none'"),
    "loss": (
        lambda made: setattr(made, "criterion", nn.CTCLoss()),
        "the loss CTCLoss raises TypeError: .*outputs: .6, 4. of float64",
    ),
    "sum": (lambda made: setattr(made, "criterion", nn.MultiMarginLoss(reduction="sum")), "a sum over examples"),
    "no loss": (lambda made: setattr(made, "criterion", []), "the loss list is not translated"),
    "no parameters": (lambda made: setattr(made, "network", nn.Flatten()), "has no parameters"),
    "loss of weights": (
        lambda made: setattr(made, "criterion", lambda y, t: y.mean() + made.network[0].weight.pow(2).sum()),
        r"the loss also depends on a parameter of shape \(3, 1, 3, 3\), whose gradient would be missing",
    ),
    "several values": (lambda made: setattr(made, "criterion", lambda y, t: y), "must return one number, a tensor"),
    "loss with parameters": (
        lambda made: setattr(made, "criterion", nn.Sequential(nn.Linear(4, 1))), "the loss Sequential has parameters",
    ),
    "channels": (lambda made: made.network.insert(0, nn.Conv2d(2, 1, 1).double()), r"inputs of shape \(N, 1, 6, 6\): "),
    "precision": (
        lambda made: made.network.float(), "inputs of torch.float64, and the network's parameters are float32",
    ),
    "scheduler of another": (
        lambda made: setattr(made, "scheduler", lr_scheduler.StepLR(parts().optimizer, 1)), "changes another optimizer",
    ),
    "maximum": (
        lambda made: setattr(made, "scheduler", lr_scheduler.ReduceLROnPlateau(made.optimizer, mode="max")),
        "mode='max' watches a metric",
    ),
    "momentum": (lambda made: setattr(made.network[1], "momentum", None), "1 averages its statistics"),
    "dropout between levels": (
        lambda made: setattr(made, "network", Rows().double()), "rows .LSTM. has dropout=0.5 inside",
    ),
    "dropout of an own attention": (
        lambda made: setattr(made, "network", RowAttention(OwnAttention).double()),
        "attention .OwnAttention. has dropout=0.5 inside",
    ),
    "spectral norm": (
        lambda made: nn.utils.parametrizations.spectral_norm(made.network[0]), "spectral_norm changes its vectors",
    ),
    "random slopes": (lambda made: made.network.append(nn.RReLU()), "5: RReLU draws its slopes in training"),
    "alpha dropout": (lambda made: made.network.append(nn.AlphaDropout(0.1)), "5: AlphaDropout is not done here"),
    "evaluation mode": (lambda made: made.network[1].eval(), "BatchNorm2d. is in evaluation mode"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    change, message = REFUSED[name]
    made = parts()
    made.scheduler = None
    change(made)
    with pytest.raises(PellucidError, match=message):
        made.taken(loader())


class ImageAndValues(nn.Module):
    """A network with two inputs, and dropout by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.values = nn.Conv2d(1, 2, 3), nn.Linear(3, 2, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 4)

    def forward(self, image: Tensor, values: Tensor) -> Tensor:
        both = torch.cat([self.image(image).relu().mean((2, 3)), self.values(values)], 1)
        return self.head(nn.functional.dropout(self.norm(both).tanh(), 0.0, self.training))


@pytest.mark.parametrize("nested", [True, False])
def test_a_network_with_two_inputs(nested: bool) -> None:
    def made() -> Parts:
        torch.manual_seed(0)
        network = ImageAndValues().double()
        return Parts(network, nn.CrossEntropyLoss(), torch.optim.AdamW(network.parameters(), lr=0.01))

    def items() -> tuple[Any, None]:
        values = torch.rand(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        pairs = zip(loader(), values.split(6), strict=True)
        return [((x, v), y) if nested else (x, v, y) for (x, y), v in pairs], None

    def run(made: Parts, batches: Any, epochs: int, _: Any) -> None:
        for item in [*batches] * epochs:
            inputs, y = item if nested else (item[:2], item[2])
            made.optimizer.zero_grad()
            made.criterion(made.network.train()(*inputs), y).backward()
            made.optimizer.step()

    training = check_equal(made, items, 5, run)
    assert training.verify(2).ok
    assert training.explain(target=0).shape == (6, 39)


def test_an_enabled_scaler_and_odd_batches_are_refused() -> None:
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    with pytest.raises(PellucidError, match="float16 with a GradScaler"):
        parts().taken(loader(), scaler=scaler)
    with pytest.raises(PellucidError, match=r"not \(inputs, targets\); give a function"):
        parts().taken([{"image": torch.rand(2, 1, 6, 6)}])
    with pytest.raises(PellucidError, match=r"not \(inputs, targets\); give a function"):
        parts().taken([(torch.rand(2, 1, 6, 6), torch.zeros(2).long(), torch.arange(2))])  # an index, no second input
    with pytest.raises(PellucidError, match=r"yields 2 inputs of torch.float32, torch.int64; several inputs must be"):
        parts().taken([((torch.rand(2, 1, 6, 6), torch.arange(2)), torch.zeros(2).long())])
    with pytest.raises(PellucidError, match="give the conversion"):
        parts().taken([(torch.zeros(2, 1, 6, 6, dtype=torch.uint8), torch.zeros(2).long())])
    with pytest.raises(PellucidError, match="iterable in every epoch"):
        parts().taken(iter([]))


def test_a_schedule_that_ends_too_early_is_said() -> None:
    made = parts()
    made.scheduler = lr_scheduler.OneCycleLR(made.optimizer, max_lr=0.1, total_steps=6)
    made.by_batch = True
    with pytest.raises(PellucidError, match="OneCycleLR ends after 6 steps"):
        made.taken(loader()).fit(2, verbose=False)


class Stream(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
    """Examples without a known number, as of a file that is read on."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator().manual_seed(0)
        return iter([(torch.rand(4, generator=rng), torch.tensor(k % 3)) for k in range(20)])


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_loader_of_a_stream_is_taken_and_inputs_that_are_not_finite_are_refused(value: float) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batches = DataLoader(Stream(), 8)
    arguments: dict[str, Any] = {"loss": nn.CrossEntropyLoss(), "optimizer": optimizer}
    if math.isfinite(value):
        history = pellucid.from_torch(network, train=batches, **arguments).fit(2, steps_per_epoch=3, verbose=False)
        assert len(history.rows) == 2
        return
    with pytest.raises(PellucidError, match="the first inputs of a loader contain NaN or infinity"):
        pellucid.from_torch(network, train=[(x + value, y) for x, y in batches], **arguments)
