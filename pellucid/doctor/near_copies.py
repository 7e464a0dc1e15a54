"""A training without the training images of some scenes of validation images, which shows whether these are copies."""

from dataclasses import replace

import torch

from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.checks.leakage import MAX_GROUPED, NAME, NEAR_COPIES, held_out_scenes
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import Remedy, Suspect
from pellucid.doctor.inputs import select
from pellucid.doctor.paired import N_RESERVED_PAIRS, ProvenCause


def measure_near_copies(evaluations: Evaluations) -> ProvenCause | None:
    """Train without the training images of some scenes, and without as many others; score both on these scenes.

    Only images that are copies of others lose much by the first. Without a certain or a large loss, near images may be
    alike by chance, and `Evaluations.is_harmless` refutes the finding.
    """
    case, validation = evaluations.case, evaluations.case.validation
    found = next((one for one in evaluations.findings if (one.check, one.kind) == (NAME, NEAR_COPIES)), None)
    if found is None or not isinstance(case, Case) or not isinstance(validation, Arrays):
        return None
    if len(case.train) + len(validation) > MAX_GROUPED:
        return None
    is_scored, is_of_scenes = held_out_scenes(case, validation)
    others = (~is_of_scenes).nonzero().flatten()
    order = torch.randperm(len(others), generator=generator(case.model.seed))
    is_kept = torch.ones(len(case.train), dtype=torch.bool)
    is_kept[others[order[: int(is_of_scenes.sum())]]] = False
    with_copies = select(case.train, is_kept)
    base = replace(case, train=select(case.train, ~is_of_scenes), validation=select(validation, is_scored))
    remedy = Remedy(
        f"copies of {int(is_scored.sum())} validation images among the training images, in place of as many others",
        lambda case: replace(case, train=with_copies), NEAR_COPIES,
    )  # fmt: skip
    change = Suspect(replace(found, remedy=remedy), is_likely=True)
    trainings = evaluations.trainings
    steps = trainings.max_steps  # what is learned by heart is learned late
    trainings.reserve(*N_RESERVED_PAIRS * [(base, steps), (change.apply(base), steps)])
    cause = trainings.measure(base, change, {}, steps)
    return cause and cause._replace(mended_case=case)
