"""Suspects in user-defined losses, optimizers and layers: the same training with a part of the library instead."""

from collections.abc import Iterator
from functools import partial

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, library_part
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.training_case import TrainingCase
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.objective import Supervised


def own_loss_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for a user-defined loss: that of the library which it is derived from, or one for the targets."""
    objective = case.model.objective
    if not isinstance(objective, Supervised) or not is_user_defined(objective.loss) or not isinstance(case, Case):
        return
    loss, y = objective.loss, case.train.y
    plain = library_part(loss)
    if plain is None and case.classifies:
        return  # see `losses.loss_suspects`
    if plain is None and not y.is_floating_point():
        plain = SoftmaxCrossEntropy(ignore=getattr(loss, "ignore", None))
    elif plain is None and y.dim() <= 2:
        plain = Quadratic()
    if plain is not None:
        yield suspect(
            "wrong-loss", f"minimizing {type(loss).__name__} does not lead to good predictions",
            f"compare its values and gradients with those of {type(plain).__name__}, or use that",
            f"the loss {type(plain).__name__}", partial(rebuilt, loss=plain), path="loss", unusual=True,
            key=f"loss-{type(plain).__name__}", loss=type(loss).__name__,
        )  # fmt: skip


def own_optimizer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each user-defined optimizer that is derived from one of the library."""
    optimizers = case.model.optimizers
    for network, optimizer in optimizers.items() if optimizers else [("", case.model.optimizer)]:
        plain = library_part(optimizer) if is_user_defined(optimizer) else None
        if plain is None:
            continue
        own_name, name = type(optimizer).__name__, type(plain).__name__
        changes = {"optimizers": {**optimizers, network: plain}} if optimizers else {"optimizer": plain}
        yield suspect(
            "own-optimizer", f"the steps of {own_name} differ from those of {name}, and the network learns less with "
            "them", f"compare the steps of {own_name} with those of {name}: what it keeps from step to step, and the "
            "sign and the size of the step", f"the optimizer {name}", partial(rebuilt, **changes),
            path=network or "training", unusual=True, key=f"optimizer-{name}", optimizer=own_name,
        )  # fmt: skip
