"""How training targets are wrong, judged by a model that was trained on validation data."""

from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from pellucid.data.changed_source import with_targets
from pellucid.doctor.evaluations import MIN_EXPLAINED, MIN_PARTLY_EXPLAINED, Evaluations, changed_targets
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import ProvenCause
from pellucid.task import TargetChange
from pellucid.training.examples import subset

MIN_JUDGE_SCORE = 0.5  # on validation data, of a model whose outputs show a fault without a training
# The score of the model on training data divided by its score on validation data, both minus the score by chance. Up to
# this ratio, the training targets are unrelated to their images.
MAX_UNPAIRED_SCORE = 0.12
# A training example is predicted badly if its score is lower than that of all but USUAL_FRACTION of the held-out
# validation examples. A part of the examples is wrong if more of them are, but not nearly all.
USUAL_FRACTION, MIN_FRACTION, MAX_FRACTION = 0.15, 0.3, 0.75
MIN_CHANGED = 0.1  # fraction of the examples that a change must fit better
MIN_GAIN = 0.1  # of an example's score, from which a change fits better
MAX_LISTED = 8  # examples in a sentence


class JudgedExamples:
    """The training examples of a cross-fit, judged by the model that was trained on validation data.

    base, base_scores: the case whose training examples are judged, and the scores of its trainings by pair. indices:
    of these examples in the user's training data, (n,). split: the cause that the training on validation data proved.
    """

    def __init__(
        self, evaluations: Evaluations, base: Any, indices: Tensor, base_scores: dict[int, Tensor], split: ProvenCause
    ) -> None:
        self.evaluations, self.base, self.base_scores, self.split = evaluations, base, base_scores, split
        self.indices, self.model = indices, split.mended_case.model
        self.validation_score, self.gain = fmean(split.effect.after), fmean(split.effect.gains)

    @cached_property
    def suggested(self) -> list[tuple[TargetChange, Suspect]]:
        """The changes of targets that the model's outputs for training images suggest, and as suspects."""
        min_gain = max(self.split.change.min_gain, MIN_EXPLAINED * self.gain)
        changes = self.evaluations.other_targets(self.evaluations.case.train, self.model)
        return [(change, changed_targets("train", change, min_gain)) for change in changes]

    def all_changed(self) -> ProvenCause | None:
        """Train with each suggested change of all targets after which the model predicts them better."""
        trainings, score = self.evaluations.trainings, self.evaluations.score
        for target_change, change in self.suggested:
            if target_change.unproven:
                continue
            score_pair = self.scores, score(self.model, change.apply(self.base).train)
            is_better = effect_of(change, score.name, [score_pair], 0).verdict == "cause"
            if is_better and (proven_cause := trainings.measure(self.base, change, self.base_scores)) is not None:
                return proven_cause
        return None

    def shown_by_outputs(self, refutable: bool) -> ProvenCause | None:
        """Return the first fault of the targets that needs only the outputs of a good model.

        refutable: whether a training with changed targets that has no effect refutes it.
        """
        trainings = self.evaluations.trainings
        for target_change, change in self.suggested:
            if not target_change.unproven:
                continue
            n_effects, proven_cause = len(trainings.effects), None
            if target_change.apply is not None:
                proven_cause = trainings.measure(self.base, change, self.base_scores)
            is_refuted = refutable and any(one.verdict == "no effect" for one in trainings.effects[n_effects:])
            if proven_cause is not None or (self.validation_score >= MIN_JUDGE_SCORE and not is_refuted):
                return proven_cause or self.split.with_names_of(change)
        return None

    @property
    def are_paired(self) -> bool:
        """Whether the model predicts the training targets clearly better than the targets of other training images."""
        by_chance = float(self.evaluations.score(self.model, self.base.train, True).mean())
        max_unpaired = MAX_UNPAIRED_SCORE * (self.validation_score - by_chance)
        return float(self.scores.mean()) - by_chance > max_unpaired

    @cached_property
    def scores(self) -> Tensor:
        """The score of each example, (n,)."""
        return self.evaluations.score(self.model, self.base.train)

    @cached_property
    def bad(self) -> Tensor:
        """The places of the examples that are predicted badly; none if there are few or nearly all, or too many."""
        usual_scores = self.evaluations.score(self.model, self.base.validation)
        is_bad = self.scores < usual_scores.quantile(USUAL_FRACTION)
        is_part = MIN_FRACTION <= float(is_bad.double().mean()) <= MAX_FRACTION
        return (is_bad & (is_part and len(is_bad) == len(self.indices))).nonzero().flatten()

    def some_changed(self) -> ProvenCause | None:
        """Train with each change of targets that the badly predicted examples suggest, in the examples that it fits."""
        if not len(self.bad):
            return None
        bad_part, fitting = subset(self.base.train, self.bad, False), list[tuple[float, Tensor, TargetChange]]()
        for change in self.evaluations.other_targets(bad_part, self.model):
            if change.apply is not None and not change.unproven:
                changed_scores = self.evaluations.score(self.model, with_targets(bad_part, change.apply))
                gains = changed_scores - self.scores[self.bad]
                fitting.append((float(gains.clamp_min(0).sum()), self.bad[gains >= MIN_GAIN], change))
        for _, places, change in sorted(fitting, key=lambda one: -one[0]):
            if change.apply is None or len(places) < MIN_CHANGED * len(self.indices):
                continue
            proven_cause = self._measure(
                change.name, f"the targets of {self._share(places)} {change.cause}",
                f"{change.fix}; look at {self._listed(places)}", f"{change.description} in {self._share(places)}",
                with_targets(self.base.train, change.apply, frozenset(places.tolist())), MIN_EXPLAINED,
            )  # fmt: skip
            if proven_cause is not None:
                return proven_cause
        return None

    def some_left_out(self) -> ProvenCause | None:
        """Train without the examples that are predicted badly."""
        if not len(self.bad):
            return None
        is_kept = torch.ones(len(self.indices), dtype=torch.bool)
        is_kept[self.bad] = False
        return self._measure(
            "wrong-targets", f"the targets of {self._share(self.bad)} do not fit their inputs, by a model that was "
            "trained on validation data", f"look at {self._listed(self.bad)}, and correct their targets or leave them "
            "out", f"training without {self._share(self.bad)}, which that model predicts badly",
            subset(self.base.train, is_kept.nonzero().flatten(), False), MIN_PARTLY_EXPLAINED,
        )  # fmt: skip

    def _measure(
        self, name: str, cause: str, fix: str, description: str, train: Any, min_explained: float
    ) -> ProvenCause | None:
        """Train on other training data; return the cause if this gains `min_explained` of the cross-fit's gain."""
        change = suspect(
            name, cause, fix, description, lambda case: replace(case, train=train), path="train",
            min_gain=min_explained * self.gain,
        )  # fmt: skip
        return self.evaluations.trainings.measure(self.base, replace(change, is_likely=True), self.base_scores)

    def _share(self, places: Tensor) -> str:
        return f"{len(places) / len(self.indices):.0%} of the training examples"

    def _listed(self, places: Tensor) -> str:
        """Return the first examples at these places as text, by their indices in the user's training data."""
        indices = self.indices[places].sort().values.tolist()
        return f"the training examples {', '.join(map(str, indices[:MAX_LISTED]))} (counted from 0)"
