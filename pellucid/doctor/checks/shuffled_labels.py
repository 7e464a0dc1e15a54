"""Labels that have nothing to do with their inputs, wholly or for a large share of a part."""

from dataclasses import replace

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import with_validation
from pellucid.doctor.simple import Hits, Simple, hits, simple

CHANCE = 3.0  # standard deviations: labels without sense stay below it 999 times in 1000
CLEAR = 5.0  # and what is above this does not come about by chance
ENOUGH = 500  # examples: with so many, a simple classifier beats chance if labels depend on the images
MIN_EXAMPLES = 100  # and these are enough where it is known to see something
MIN_OTHERS = 50  # examples of other classes than the commonest; with fewer, chance leaves nothing to see
SHARE = 0.3  # of the labels of a part; below it, it may as well be the noise that large data sets have
ROLL = 32  # examples that labels may be off against their inputs


def look(case: Case) -> list[Finding]:
    """Let a simple classifier, independent of the network, predict the labels within each part and across parts."""
    train = _large_enough(case.simple)
    if train is None:
        return []
    # By the same classes, or one part may be easier than the other.
    part = case.validation
    other = None if part is None else _large_enough(simple(part, case.model.seed, train.classes))
    found = _rolled(case, "train", case.train, train)
    if not found and train.own.above < CHANCE:
        enough = len(train.y) >= ENOUGH or (other is not None and other.own.above > CLEAR)
        if enough and not _learned(case):
            found.append(_whole("train", train))
    elif not found and part is not None and other is not None:
        found += _partly("train", train.own, hits(train.predict(part.x[other.indices]), other.y))
    if part is None or other is None:
        return found
    if rolled := _rolled(case, "validation", part, other):
        return found + rolled
    if other.own.above < CHANCE:
        if train.of_size(len(other.y)).above > CLEAR and not _learned(case):
            found.append(_whole("validation", other))
    else:
        found += _partly("validation", other.own, hits(other.predict(case.train.x[train.indices]), train.y))
    return found


def _large_enough(found: Simple | None) -> Simple | None:
    """Return a classifier that has enough examples of more than one class."""
    if found is None or len(found.y) < MIN_EXAMPLES:
        return None
    return found if len(found.y) - int(found.y.bincount().max()) >= MIN_OTHERS else None


def _learned(case: Case) -> bool:
    """Return whether the network is right on most unseen examples, so that labels have to do with inputs."""
    _, unseen = case.class_predictions or (None, None)
    if unseen is None:
        return False
    counts = hits(unseen.classes, unseen.part.y)
    return counts.share > 0.5 + counts.chance / 2 and counts.above > CLEAR


def _mixed(within: Hits, across: Hits) -> float:
    """Return which share of a part's labels has no sense, by how well they are guessed.

    Guesses that were learned from such labels are right as often as the share of good ones allows; against the good
    labels of the other part they are right more often. 0 where the difference may be chance.
    """
    good = across.share - across.chance
    spread = (within.share * (1 - within.share) / within.n + across.share * (1 - across.share) / across.n) ** 0.5
    if good <= 0 or across.share - within.share < CLEAR * spread:
        return 0.0
    return 1 - max(within.share - within.chance, 0.0) / good


def _whole(path: str, fitted: Simple) -> Finding:
    cause = "inputs and labels were put in order, shuffled or filtered separately, so that they no longer belong "
    cause += "together"
    fix = "read each input with its label from one list and shuffle both by the same order; look at some by eye"
    return Finding(NAME, path, _guessed(fitted.own), cause, fix)


def _rolled(case: Case, path: str, part: Arrays, fitted: Simple) -> list[Finding]:
    """Look for labels that are guessed far better if they are moved; where the list is ordered, some are as is."""
    if _learned(case):
        return []
    best, moved = 0, fitted.own
    for shift in (*range(1, ROLL + 1), *range(-1, -ROLL - 1, -1)):
        y = part.y.roll(shift)[fitted.indices]
        other = hits(fitted.relabelled(y), y)
        if other.share > moved.share:
            best, moved = shift, other
    if _mixed(fitted.own, moved) <= SHARE:
        return []

    def fixed(part: Arrays) -> Arrays:
        return replace(part, y=part.y.roll(best))

    def rolled(case: Case) -> Case:
        return replace(case, train=fixed(case.train)) if path == "train" else with_validation(case, fixed)

    evidence: Evidence = {**_guessed(fitted.own), "labels_moved_by": best, "right_then": moved.share}
    cause = f"each label belongs to the input {abs(best)} {'before' if best < 0 else 'after'} it in the list"
    fix = "move the labels against the inputs, and read both from one list"
    return [Finding(NAME, path, evidence, cause, fix, Remedy(f"labels moved by {best} places", rolled))]


def _guessed(own: Hits) -> Evidence:
    return {
        "examples": own.n,
        "right_by_a_simple_classifier": own.share,
        "right_by_chance": own.chance,
        "above_chance_in_standard_deviations": own.above,
    }


def _partly(path: str, within: Hits, across: Hits) -> list[Finding]:
    senseless = _mixed(within, across)
    if senseless <= SHARE:
        return []
    evidence: Evidence = {
        "examples": within.n,
        "right_by_a_simple_classifier": within.share,
        "right_on_the_other_part": across.share,
        "right_by_chance": within.chance,
        "share_of_labels_without_sense": senseless,
    }
    cause = "a part of the labels lost its inputs, as when one of several files was put in another order"
    fix = "find out which files or batches the wrong labels come from, and read these again with their inputs"
    return [Finding(NAME, path, evidence, cause, fix)]


NAME = "shuffled-labels"
CHECK = Check(
    NAME, look, examples=MIN_EXAMPLES, proven=True,
    explains=("confused-labels", "label-noise", "overfitting", "underfitting", "miscalibration",
              "collapsed-predictions", "learning-rate-too-low", "update-ratio", "useless-maps"),
)  # fmt: skip
