"""The settings of a remedy make the change that its experiment tries: both give the same training."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import Augment
from pellucid.doctor.case import Case
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.passes import leaves
from pellucid.doctor.run_case import case_of_run
from pellucid.doctor.suspects import suspects
from pellucid.layers import Dropout, Identity
from pellucid.recipe.recipe import load_recipe, parse_overrides

NEUTRAL = (Dropout(0.0), Identity())  # layers that change nothing
FAULTS = (
    "regularizer.name=l2 regularizer.lam=5.0", "network.dropout=0.9", "train.frozen=['features.*']",
    "augment.flip=true", "augment.rotate=90.0", "train.clip=0.001", "optimizer.beta1=0.999", "optimizer.lr=1e-7",
    "loss.name=quadratic", "loss.name=quadratic network.output=sigmoid", "network.init_weight=zeros",
    "network.init_bias=normal", "loss.class_weights=[1000,1,1,1,1,1,1,1,1,1]",
)  # fmt: skip


def write_run(folder: Path, settings: Mapping[str, Any], recipe: str | Path = "digits") -> Case:
    """Return the case of a run that has not begun, of a recipe with other settings."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(load_recipe(recipe, settings).to_toml())
    return case_of_run(folder)


def settings_in(case: Case) -> dict[str, Any]:
    """Return what determines a training, apart from its data."""
    model, augment = case.model, case.augment
    layers = [layer for _, layer in leaves(model.net) if layer not in NEUTRAL]
    return {
        "layers": layers, "loss": model.loss, "optimizer": model.optimizer, "schedule": model.schedule,
        "regularizers": model.regularizers, "clip": model.clip, "frozen": model.frozen, "batch": case.batch_size,
        "augment": augment or Augment(),
    }  # fmt: skip


@pytest.mark.slow
def test_settings_give_the_training_that_the_remedy_gives(tmp_path: Path) -> None:
    made = set[str]()
    for number, fault in enumerate(FAULTS):
        run = tmp_path / f"digits-{number}"
        case = write_run(run, parse_overrides([str(setting) for setting in fault.split()]))
        for suspect in suspects(case):
            if not suspect.finding.settings:
                continue
            try:
                expected = settings_in(write_run(tmp_path / "changed", suspect.finding.settings, run))
            except PellucidError:
                continue  # a key that this recipe does not have
            remedied = settings_in(suspect.apply(case))
            remedied["optimizer"] = replace(
                remedied["optimizer"], lr=float(f"{remedied['optimizer'].lr:.2g}")
            )  # as the fix says it
            assert remedied == expected, (fault, suspect.remedy.key)
            made.add(suspect.remedy.key)
    assert made == {
        "without-L2", "dropout-too-strong", "frozen-too-much", "no-mirroring", "no-augmentation", "clipping-too-tight",
        "default-hyperparameters", "default-hyperparameters-and-lower-rate",
        "constant-rate", "softmax-cross-entropy", "he-weights", "no-class-weights",
        "class-weight-roots", "rate-0.0003", "rate-0.03", "rate-3e-05", "rate-0.001", "rate-1e-08", "rate-1e-06",
        "rate-1e-09",
    }  # fmt: skip


def test_standardised_inputs_are_a_setting_of_the_data(tmp_path: Path) -> None:
    case = write_run(tmp_path / "digits-1", {})
    too_large = replace(case, train=replace(case.train, x=100 * case.train.x))
    (finding,) = unnormalised_inputs.find(too_large)
    assert finding.remedy is not None
    remedied = finding.remedy.apply(case).model.preprocess
    assert remedied == write_run(tmp_path / "changed", finding.settings).model.preprocess
