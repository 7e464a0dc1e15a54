"""The reference for gradients of shards: one step on the whole batch, with the random draws of the shards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pellucid.combine.base import map_layers
from pellucid.data import Batch
from pellucid.data.seeds import mix
from pellucid.layers import BatchNorm
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.training.layer_statistics import DRAW_SEED
from pellucid.training.step import TrainingStep

SEED = 1


class FixedNorm(BatchNorm):
    """Batch norm that always uses running statistics, so the output of an example does not depend on other examples."""

    def forward(self, params: Any, x: Any, mode: Mode) -> Any:
        return super().forward(params, x, Mode())


def without_statistics(objective: Any) -> Any:
    """Return the objective with FixedNorm in place of every BatchNorm."""

    def replace_norm(layer: Any) -> Any:
        return FixedNorm(layer.momentum, layer.epsilon) if type(layer) is BatchNorm else layer

    return objective.with_nets({name: map_layers(net, replace_norm) for name, net in objective.nets.items()})


def part_of(batch: Batch, shard: int, shards: int) -> Batch:
    """Return the examples of a shard."""
    return Batch(batch.images[shard::shards], batch.targets[shard::shards])


class ShardDraws:
    """Replaces torch.rand, randn and randperm: the examples of each shard receive the random numbers of that shard.

    `rng` is the generator passed to the step of the whole batch; draws from it come from the shards' generators.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
        self.rng, self.rngs, self.images, self.permutations = torch.Generator(), [], 0, 0
        self.rngs = [torch.Generator() for _ in range(shards)]
        monkeypatch.setattr(torch, "rand", self.draw_rows(torch.rand))
        monkeypatch.setattr(torch, "randn", self.draw_rows(torch.randn))
        monkeypatch.setattr(torch, "randperm", self.draw_permutation(torch.randperm))

    def seed(self, number: int, images: int) -> None:
        """Seed the generators for step `number` on a batch of `images` images."""
        self.images, self.permutations = images, 0
        for shard, rng in enumerate(self.rngs):
            rng.manual_seed(mix(SEED, DRAW_SEED, number, shard))

    def draw_rows(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that draws each shard's rows, or its columns if the first axis is longer than the batch."""

        def draw_for_shards(*size: Any, generator: Any = None, **options: Any) -> Any:
            if generator is not self.rng:
                return draw(*size, generator=generator, **options)
            shape = [*(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)]
            axis = int(shape[0] > self.images)
            result = torch.empty(shape, dtype=options.get("dtype"))
            for shard, rng in enumerate(self.rngs):
                shard_rows = result.transpose(0, axis)[shard :: len(self.rngs)].transpose(0, axis)
                shard_rows.copy_(draw(shard_rows.shape, generator=rng, **options))
            return result

        return draw_for_shards

    def draw_permutation(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        """Return a draw with the generator of an image's shard; each image draws twice, see `ops.assign.sample`."""

        def draw_for_image(n: int, *, generator: Any = None, **options: Any) -> Any:
            if generator is self.rng:
                generator = self.rngs[self.permutations // 2 % len(self.rngs)]
                self.permutations += 1
            return draw(n, generator=generator, **options)

        return draw_for_image


class TurnRecorder:
    """Records the losses and gradients of all turns of a step; each turn still updates the weights."""

    def __init__(self, step: TrainingStep) -> None:
        self.turns: list[tuple[dict[str, float], dict[str, Any]]] = []
        self.original_learn = step.learn
        step.learn = self.learn  # type: ignore[method-assign]

    def learn(self, losses: Any, dparams: Any, lr: float) -> Any:
        values = {name: float(value) for name, value in losses.items()}
        self.turns.append((values, {path: grad.clone() for path, grad in flatten(dparams).items()}))
        return self.original_learn(losses, dparams, lr)


def step_of(model: Model, batch: Batch) -> tuple[TrainingStep, TurnRecorder]:
    step = TrainingStep.of(model, len(batch.images), in_sweep=False)
    return step, TurnRecorder(step)


def assert_same_turns(actual: TurnRecorder, expected: TurnRecorder) -> None:
    """Compare losses and gradients of all turns to 1e-12, relative to the largest gradient of the turn."""
    assert len(actual.turns) == len(expected.turns)
    for (losses, grads), (other_losses, other_grads) in zip(actual.turns, expected.turns, strict=True):
        assert losses == pytest.approx(other_losses, rel=1e-12)
        assert grads.keys() == other_grads.keys()
        largest = max(float(grad.abs().max()) for grad in other_grads.values())
        for path, grad in grads.items():
            torch.testing.assert_close(grad, other_grads[path], rtol=1e-12, atol=1e-12 * largest, msg=path)
