"""Trainings as people post them: three lines take each of them, and PyTorch continues as if it had never stopped.

A script runs as it is for K + 1 epochs; then with the lines inserted before its loop, which train K epochs, at least 20
steps, and with a loop of one epoch. Weights, statistics, the optimizer's state and its rates must be equal.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.opening.torch_training.loops import Parts, assert_equal

SCRIPTS = Path(__file__).parent / "scripts"
IMPORT = "import pellucid\n"
# The script, the epochs that make at least 20 steps, the line of its loop, and the line that takes the training.
TRAININGS = [
    (
        "mnist_example", 4, "for epoch in range(1, EPOCHS + 1):",
        "pellucid.from_torch(model, loss=F.nll_loss, optimizer=optimizer, scheduler=scheduler, "
        "train=train_loader, validation=test_loader)",
    ),
    (
        "plain_mlp", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, train=train_loader, "
        "batch=lambda item: (item[0].view(-1, 64), item[1]))",
    ),
    (
        "residual_multistep", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(net, loss=criterion, optimizer=optimizer, scheduler=scheduler, "
        "train=trainloader, validation=testloader)",
    ),
    (
        "vit_groups", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, scheduler=scheduler, "
        "scheduler_step='batch', clip_norm=0.5, train=train_dl)",
    ),
    (
        "lightning_like", 4, "trainer.fit(model,",
        "pellucid.from_torch(model, loss=F.cross_entropy, optimizer=optimizers[0], scheduler=schedulers[0], "
        "clip_norm=1.0, train=train_dl, validation=val_dl)",
    ),
    (
        "amp", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(net, loss=loss_fn, optimizer=opt, scaler=scaler, clip_norm=0.1, train=data)",
    ),
    (
        "imbalanced_plateau", 5, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, scheduler=scheduler, "
        "train=train_loader, validation=val_loader)",
    ),
    (
        "regression", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=loss_fn, optimizer=optimizer, scheduler=lr_sched, train=dl, "
        "validation=val_dl)",
    ),
    (
        "segmentation_onecycle", 5, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, scheduler=scheduler, clip_value=0.01, "
        "train=train_loader)",
    ),
    (
        "fine_tuning", 4, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, scheduler=scheduler, train=loader)",
    ),
    (
        "dict_batches", 5, "for epoch in range(EPOCHS):",
        "pellucid.from_torch(model, loss=criterion, optimizer=optimizer, scheduler=scheduler, train=loader, "
        "batch=lambda item: (item['image'], item['label']))",
    ),
    (
        "sequence_trainer", 5, "history = trainer.fit(",
        "pellucid.from_torch(net, loss=loss_fn, optimizer=optimizer, scheduler=scheduler, scheduler_step='batch', "
        "train=loader)",
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def float64() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def run_script(name: str, epochs: int, loop: str = "", lines: str = "") -> dict[str, Any]:
    source = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    if lines:
        assert source.count(f"\n{loop}") == 1
        source = source.replace(f"\n{loop}", f"\n{lines}{loop}")
    namespace: dict[str, Any] = {"EPOCHS": epochs, "__name__": name}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def parts_of(namespace: dict[str, Any], network: str) -> Parts:
    values = list(namespace.values())
    optimizers = [value for value in values if isinstance(value, torch.optim.Optimizer)]
    schedulers = [value for value in values if type(value).__module__ == "torch.optim.lr_scheduler"]
    if not optimizers:
        optimizers = namespace["optimizers"]
        schedulers = namespace["schedulers"]
    return Parts(namespace[network], None, optimizers[0], schedulers[-1] if schedulers else None)


@pytest.mark.filterwarnings("ignore")  # of schedulers that are stepped before the first step of their optimizer
@pytest.mark.parametrize(("name", "epochs", "loop", "call"), TRAININGS, ids=[name for name, *_ in TRAININGS])
def test_taken_by_three_lines_and_given_back(name: str, epochs: int, loop: str, call: str) -> None:
    network = call.partition("(")[2].partition(",")[0]
    lines = f"{IMPORT}training = {call}\ntraining.fit({epochs}, verbose=False)\n"
    taken = run_script(name, 1, loop, lines)
    uninterrupted = run_script(name, epochs + 1)
    assert_equal(parts_of(taken, network), parts_of(uninterrupted, network))
    assert taken["training"].history.last["step"] >= 20
    assert isinstance(taken[network], nn.Module)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "epochs", "loop", "call"), TRAININGS, ids=[name for name, *_ in TRAININGS])
def test_other_lines_leave_the_training_unchanged(name: str, epochs: int, loop: str, call: str) -> None:
    network = call.partition("(")[2].partition(",")[0]
    lines = f"{IMPORT}training = {call}\nassert training.verify(2).ok\ntraining.trace()\ntraining.explain(target=0)\n"
    taken = run_script(name, 2, loop, lines)
    uninterrupted = run_script(name, 2)
    assert_equal(parts_of(taken, network), parts_of(uninterrupted, network))
