"""train.minutes: the number of epochs that fits, and the time that is said before the first step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pellucid.base.allocator import FreedMemory
from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.recipe import duration
from pellucid.recipe.build import build_model
from pellucid.recipe.duration import TrainingCost, training_cost
from pellucid.recipe.job import load_data, train, train_in
from pellucid.recipe.recipe import load_recipe


@pytest.mark.parametrize(
    ("epoch_seconds", "minutes", "epochs"), [(6.0, 1.0, 10), (7.0, 1.0, 8), (90.0, 1.0, 1), (1e-6, 5.0, 1_000)]
)
def test_as_many_whole_epochs_as_fit_at_least_one(epoch_seconds: float, minutes: float, epochs: int) -> None:
    assert TrainingCost(epoch_seconds, 0).epochs_within(minutes) == epochs


def test_the_cost_is_said_in_minutes_or_seconds_and_gigabytes() -> None:
    assert TrainingCost(60.0, 3 * 2**29).text(10) == "about 10 min and 1.5 GB on this machine"
    assert TrainingCost(0.5, 2**30).text(10) == "about 5 s and 1.0 GB on this machine"
    assert TrainingCost(0.001, 2**30).text(1) == "about 1 s and 1.0 GB on this machine"


@pytest.mark.parametrize(
    ("step_seconds", "n_steps"), [(0.01, 2 + 30), (0.1, 2 + 13), (0.4, 2 + 2), (0.8, 1 + 1), (5.0, 1 + 1)]
)
def test_slow_steps_are_measured_by_one(step_seconds: float, n_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    monkeypatch.setattr(duration, "perf_counter", lambda: step_seconds * len(steps))
    loader = SimpleNamespace(epoch=lambda epoch: range(4))
    assert duration._seconds_per_batch(loader, steps.append) == pytest.approx(step_seconds)
    assert len(steps) == n_steps


def test_memory_is_kept_while_the_cost_is_measured_and_in_the_final_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers: list[int] = []
    for owner, name in ((duration, "evaluate"), (Model, "evaluate")):
        original: Any = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, call=original: keepers.append(FreedMemory._n_keepers) or call(*args)
        )
    recipe = load_recipe("xor", {"train.epochs": 1})
    material = load_data(recipe)
    training_cost(build_model(recipe, material.train), material.train, material.test, 4, None)
    train(recipe, out=tmp_path, progress=False)
    assert len(keepers) >= 2
    assert min(keepers) >= 1
    assert FreedMemory._n_keepers == 0


@pytest.mark.parametrize("frozen", [[], ["features.dense1.*"]])
def test_measuring_changes_no_weight(frozen: list[str]) -> None:
    recipe = load_recipe("digits", {"train.frozen": frozen})
    material = load_data(recipe)
    model = build_model(recipe, material.train)
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    cost = training_cost(model, material.train, material.test, 32, None)
    assert cost is not None
    assert cost.epoch_seconds > 0
    assert cost.memory > 2**20
    assert all(torch.equal(tensor, before[path]) for path, tensor in model.weights.items())


def test_a_training_by_minutes_is_the_training_of_its_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "training_cost", lambda *args: TrainingCost(29.0, 2**30))
    by_minutes = train("xor", out=tmp_path / "a", progress=False, **{"train.minutes": 1})
    saved = load_recipe(by_minutes.path)
    assert (saved.train.epochs, saved.train.minutes) == (2, 0)
    again = train("xor", out=tmp_path / "b", progress=False, **{"train.epochs": 2})
    assert again.model.sha256() == by_minutes.model.sha256()


@pytest.mark.parametrize(
    ("epoch_seconds", "text"),
    [
        (15.0, "train.minutes=1: 4 epochs, about 60 s and 1.0 GB on this machine\n"),
        (29.0, "train.minutes=1: 2 epochs in place of 4, about 58 s and 1.0 GB on this machine\n"),
        (150.0, "1 epoch in place of 4, about 2 min and 1.0 GB on this machine; more than asked for, since an epoch"),
    ],
)
def test_a_shorter_or_longer_training_than_planned_is_noted(
    epoch_seconds: float,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(duration, "training_cost", lambda *args: TrainingCost(epoch_seconds, 2**30))
    train("xor", out=tmp_path, progress=False, **{"train.minutes": 1, "train.epochs": 4})
    assert text in capsys.readouterr().err


def test_an_unknown_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "training_cost", lambda *args: None)
    with pytest.raises(PellucidError, match=r"^train\.minutes: .* give train\.epochs=N$"):
        train("xor", out=tmp_path, progress=False, **{"train.minutes": 1})
    assert not [*tmp_path.iterdir()]
    with pytest.raises(PellucidError, match=r"train\.minutes must be from 0 \(off\) to 100,000"):
        load_recipe("digits", {"train.minutes": -1})


def test_a_run_folder_with_minutes_trains_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "training_cost", lambda *args: TrainingCost(29.0, 2**30))
    recipe = load_recipe("xor", {"train.minutes": 1.0})  # as the studio writes it
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    run = train_in(tmp_path, load_data(recipe), progress=False)
    assert run.metrics["epochs"] == 2
    assert load_recipe(tmp_path).train.minutes == 0


@pytest.mark.parametrize("frozen", [[], ["features.dense1.*"]])
def test_the_evaluation_of_all_measured_training_images_counts(
    frozen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("digits", {"train.frozen": frozen})
    material = load_data(recipe)
    model = build_model(recipe, material.train)
    counts: list[int] = []
    monkeypatch.setattr(duration, "sample_indices", lambda data, held_out, seed: counts.append(len(data)) or [])
    assert training_cost(model, material.train, material.test, 32, None) is not None
    assert counts == [len(material.train)]
