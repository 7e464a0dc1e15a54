"""`Model.verify` of an objective accepts correct gradients, and finds errors outside of the networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.constant import Constants, constant
from pellucid.data import Batch
from pellucid.detectors import SSD, YOLO3, FasterRCNN
from pellucid.detectors import base as detector_base
from pellucid.generators import GAN, VAE, CodeGMMN, Zhang
from pellucid.layers import Mode
from pellucid.nested import map_tree
from pellucid.objective import Objective
from pellucid.verify.objective import ObjectiveRows, verify_objective
from tests.detectors.drawn import Rectangles, small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.two_stages import small_faster
from tests.generators.small import code_gmmn, gan, r1_gan, vae
from tests.generators.test_translation import SMALL_TRANSLATORS
from tests.objectives import OBJECTIVES, initial_params, random_batch

Gradients = Callable[..., Any]


def verify_small(objective: Objective) -> ObjectiveRows:
    batch = random_batch(objective, seed=0)
    return verify_objective(objective, initial_params(objective, batch, seed=1), batch, directions=2, seed=0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_passes_the_verification(name: str) -> None:
    table = verify_small(OBJECTIVES[name]())
    assert all(row.ok for row in table.rows), table.rows
    assert table.culprit is None
    objective_rows = [row for row in table.rows if row.form == "objective"]
    assert {row.what for row in objective_rows} == {"dy", "dparams"}
    for row in objective_rows:
        assert row.autograd is not None
        assert row.what == "dy" or row.checked == 2


def check_culprit(objective: Objective, culprit: str) -> None:
    table = verify_small(objective)
    assert not all(row.ok for row in table.rows)
    assert table.culprit == culprit


def with_changed_dy(change: Callable[[Any, Tensor], Tensor]) -> Gradients:
    """Return a method `losses` of a detector that changes the gradients but not the losses."""

    def losses_of(self: Any, y: Tensor, anchors: Any, targets: Sequence[Any]) -> Any:
        losses, dy = super(type(self), self).losses(y, anchors, targets)
        return losses, change(self, dy)

    return losses_of


def wrong_subclass(kind: type[Objective], **methods: Any) -> Callable[[Objective], Objective]:
    """Return a function that converts an objective to a subclass with wrong methods."""
    subclass = dataclass(frozen=True)(type(f"Wrong{kind.__name__}", (kind,), methods))
    return lambda right: subclass(**{entry.name: getattr(right, entry.name) for entry in fields(right)})


@pytest.mark.slow
def test_a_negated_gradient_of_one_loss_of_yolo_is_found() -> None:
    def negate(self: YOLO3, dy: Tensor) -> Tensor:
        dy[..., 4] *= -1
        return dy

    check_culprit(wrong_subclass(YOLO3, losses=with_changed_dy(negate))(small_yolo3()), "head (WrongYOLO3, dy)")


@pytest.mark.slow
def test_a_gradient_of_ssd_written_to_the_next_prior_is_found() -> None:
    def shift(self: SSD, dy: Tensor) -> Tensor:
        return torch.cat([dy[..., : self.classes + 1], dy[..., self.classes + 1 :].roll(1, 1)], 2)

    check_culprit(wrong_subclass(SSD, losses=with_changed_dy(shift))(small_ssd()), "head (WrongSSD, dy)")


def test_a_negated_gradient_penalty_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.generators import r1

    correct = r1.gradient_penalty

    def negated(*args: Any) -> Any:
        result = correct(*args)
        return result._replace(dparams=map_tree(torch.neg, result.dparams))

    monkeypatch.setattr(r1, "gradient_penalty", negated)
    check_culprit(r1_gan(), "discriminator (R1GAN, dparams)")


@pytest.mark.slow
def test_flipped_rows_in_the_gradients_of_maps_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = detector_base.split_maps
    monkeypatch.setattr(
        detector_base, "split_maps", lambda dy, maps: tuple(dy_part.flip(2) for dy_part in correct(dy, maps))
    )
    check_culprit(small_single_stage(), "head (SingleStage, dy)")


@pytest.mark.slow
def test_the_weight_of_a_loss_missing_in_its_gradient_is_found() -> None:
    def unweighted(self: YOLO3, dy: Tensor) -> Tensor:
        dy[..., 5:] /= self.weight("class")
        return dy

    check_culprit(wrong_subclass(YOLO3, losses=with_changed_dy(unweighted))(small_yolo3()), "head (WrongYOLO3, dy)")


@pytest.mark.slow
@pytest.mark.parametrize(("module", "make_objective", "kind"), [
    ("single_stage", small_single_stage, "SingleStage"), ("yolo1", small_yolo1, "YOLO1"),
])  # fmt: skip
def test_a_quality_of_predicted_boxes_not_declared_constant_is_found(
    module: str, make_objective: Callable[[], Objective], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module(f"pellucid.detectors.{module}"), "constant", lambda value: value)
    check_culprit(make_objective(), f"head ({kind}, dy)")


def test_rebalancing_weights_missing_in_the_gradient_are_found() -> None:
    def gradients(self: Zhang, params: Any, batch: Batch, mode: Mode) -> Any:
        state, frequency = mode.rng.get_state(), map_tree(torch.clone, params["balance"])
        losses, _ = Zhang.gradients(self, params, batch, mode)
        mode.rng.set_state(state)
        equal = replace(SMALL_TRANSLATORS["zhang"], generator=self.generator, uniform=1.0)
        with torch.no_grad(), Constants().in_use():  # its constants are not those of the losses
            _, dparams = equal.gradients(params | {"balance": frequency}, batch, mode)
        return losses, dparams

    check_culprit(
        wrong_subclass(Zhang, gradients=gradients)(SMALL_TRANSLATORS["zhang"]), "generator (WrongZhang, dparams)"
    )


def test_a_kl_divergence_without_its_weight_is_found() -> None:
    def gradients(self: VAE, params: Any, batch: Batch, mode: Mode) -> Any:
        losses, dparams = VAE.gradients(self, params, batch, mode)
        _, unweighted = VAE.gradients(replace(vae(), weights={}), params, batch, Mode(True, mode.rng))
        return losses, dparams | {"encoder": unweighted["encoder"]}

    check_culprit(wrong_subclass(VAE, gradients=gradients)(vae({"kl": 0.3})), "encoder (WrongVAE, dparams)")


def test_spectral_normalization_missing_in_the_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.generators import gan as module

    monkeypatch.setattr(module, "unnormalized_gradients", lambda dparams, *args: dparams)
    check_culprit(replace(gan(), spectral=True), "discriminator (GAN, dparams)")


@pytest.mark.slow
def test_a_gradient_of_regions_missing_in_the_finest_map_is_found() -> None:
    def box_gradients(self: FasterRCNN, *args: Any) -> Any:
        result = FasterRCNN.box_gradients(self, *args)
        assert result.dmap is not None
        return result._replace(dmap=torch.zeros_like(result.dmap))

    check_culprit(wrong_subclass(FasterRCNN, box_gradients=box_gradients)(small_faster()), "neck (WrongFasterRCNN, dy)")


def test_a_negated_gradient_of_the_discriminator_is_found() -> None:
    def gradients(self: GAN, params: Any, batch: Batch, mode: Mode) -> Any:
        for losses, dparams in GAN.gradients(self, params, batch, mode):
            yield losses, map_tree(torch.neg, dparams) if "discriminator" in dparams else dparams

    check_culprit(wrong_subclass(GAN, gradients=gradients)(gan()), "discriminator (WrongGAN, dparams)")


def test_a_scale_of_the_discrepancy_missing_in_the_gradient_is_found() -> None:
    def gradients(self: CodeGMMN, params: Any, batch: Batch, mode: Mode) -> Any:
        for losses, dparams in CodeGMMN.gradients(self, params, batch, mode):
            yield losses, map_tree(lambda leaf: leaf / self.scale, dparams) if "generator" in dparams else dparams

    check_culprit(wrong_subclass(CodeGMMN, gradients=gradients)(code_gmmn()), "generator (WrongCodeGMMN, dparams)")


def test_another_network_in_the_fused_form_is_found() -> None:
    def fused(self: GAN) -> GAN:
        return replace(gan(), loss="hinge")

    check_culprit(wrong_subclass(GAN, fused=fused)(gan()), "discriminator (WrongGAN, dparams)")


def test_gradients_that_only_the_fused_form_returns_are_found() -> None:
    def gradients(self: VAE, params: Any, batch: Batch, mode: Mode) -> Any:
        losses, dparams = VAE.gradients(self, params, batch, mode)
        return losses, {"generator": dparams["generator"]}

    def fused(self: VAE) -> VAE:
        return vae()

    objective = wrong_subclass(VAE, gradients=gradients, fused=fused)(vae())
    check_culprit(objective, "encoder (WrongVAE, dparams)")


def test_a_network_missing_in_the_gradients_is_found() -> None:
    def gradients(self: SSD, params: Any, batch: Batch, mode: Mode) -> Any:
        losses, dparams = SSD.gradients(self, params, batch, mode)
        return losses, {name: network_gradients for name, network_gradients in dparams.items() if name != "backbone"}

    check_culprit(wrong_subclass(SSD, gradients=gradients)(small_ssd()), "backbone (WrongSSD, dparams)")
    frozen = wrong_subclass(SSD, gradients=gradients, fused=lambda self: self, untrained=("backbone",))(small_ssd())
    assert all(row.ok for row in verify_small(frozen).rows)


def test_a_turn_without_gradients_is_found() -> None:
    def gradients(self: GAN, params: Any, batch: Batch, mode: Mode) -> Any:
        for losses, dparams in GAN.gradients(self, params, batch, mode):
            yield losses, dparams if "discriminator" in dparams else {}

    check_culprit(wrong_subclass(GAN, gradients=gradients)(gan()), "generator (WrongGAN, dparams)")


def test_a_fused_form_with_fewer_turns_is_found() -> None:
    def gradients(self: GAN, params: Any, batch: Batch, mode: Mode) -> Any:
        yield next(iter(GAN.gradients(self, params, batch, mode)))

    def fused(self: GAN) -> GAN:
        return wrong_subclass(GAN, gradients=gradients)(gan())

    check_culprit(wrong_subclass(GAN, fused=fused)(gan()), "generator (WrongGAN, dparams)")


def test_values_declared_constant_must_be_the_same_in_every_pass() -> None:
    constants = Constants()
    with constants.in_use():
        constant(torch.ones(2))
        constant(torch.ones(3))
    with pytest.raises(PellucidError, match="differ from pass to pass"), constants.in_use():
        constant(torch.ones(2))
    with pytest.raises(PellucidError, match="differ from pass to pass"), constants.in_use():
        constant(torch.ones(3))


@pytest.mark.slow
def test_table_of_a_model_shows_the_objective() -> None:
    model = Model(small_ssd(), input_shape=(3, 48, 64))
    table = model.verify(Rectangles(2))
    assert table.ok
    assert "The objective: output gradients of its networks" in str(table)
    assert {row.path for row in table.rows if row.form == "objective"} == {"backbone", "neck", "head"}
