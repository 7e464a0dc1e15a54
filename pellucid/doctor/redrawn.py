"""Training inputs that change at random from draw to draw so much that little of their labels is left."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pellucid.data.dataset import float_images
from pellucid.doctor.case import MIN_SURVIVING, Case
from pellucid.doctor.finding import EvidenceValue, Finding, Suspect, suspect
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.training_case import TrainingCase
from pellucid.metrics.functions import confusion_matrix

NAME = "augmentation-destroys"
MIN_GAIN = 0.1  # of the score, without random changes, since sound ones make short trainings a little worse
MIN_CHANGED = 0.5  # fraction of the images of a class that a classifier answers with one other class if they are moved
MAX_SHOWN, MAX_MOVES = 4, 2  # classes and moves in a sentence


def redrawn_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the training inputs change much at random, and are known without that."""
    if isinstance(case, Case) and case.plain is not None and case.changes_much:
        plain, (cause, fix) = case.plain, _texts(case)
        yield suspect(
            NAME, cause, fix, "training inputs read as validation inputs, without the random changes",
            lambda case: replace(rebuilt(case), train=plain), path="train", unusual=True, min_gain=MIN_GAIN,
            key="no-random-changes", most_like_another_draw_of_themselves=case.surviving,
        )  # fmt: skip


def finding_of_hidden_labels(case: Case, evidence: Mapping[str, EvidenceValue]) -> Finding:
    """Return the finding for training inputs that random changes make so unlike that no label can be judged."""
    cause, fix = _texts(case)
    return Finding(
        NAME, "train", {**evidence, "most_like_another_draw_of_themselves": case.surviving}, cause,
        f"{fix} (if a training without random changes learns no more, look whether labels and inputs belong together)",
        is_fault=True,
    )  # fmt: skip


def _texts(case: Case) -> tuple[str, str]:
    """Return the cause and the fix."""
    if classes := moved_classes(case):
        return (
            "training images are mirrored or turned at random, and keep their labels where that makes another class",
            f"leave flips and turns that make one class another out of the augmentation ({classes})",
        )
    if case.moves and case.train.y.is_floating_point():
        faults = ", ".join(change.fault for change in case.moves.values())
        return (
            f"training images are changed at random ({faults}), and their targets stay as they are",
            "change the targets together with the images, or leave flips and turns out of the augmentation",
        )
    measured = "two draws of one input are often taken for different classes"
    if case.surviving < MIN_SURVIVING:
        measured = f"only {case.surviving:.0%} of them are most like another draw of themselves"
    return (
        f"the random changes of the training inputs leave little of what their targets say: {measured}",
        "weaken the augmentation: look at some augmented inputs, and make crops larger, and turns, noise and changes "
        "of colours smaller, until they show their targets",
    )


def moved_classes(case: Case) -> str:
    """Return as text which classes look like others after a flip or turn that training images have at random.

    A simple classifier of images without random changes answers most moved images of such a class with one other class,
    and no other class is answered so. "" if there are none.
    """
    data, classifier = case.unchanged, case.unchanged_classifier if case.moves else None
    if data is None or classifier is None:
        return ""
    x, y, texts = float_images(data.x[classifier.indices]), classifier.y, list[str]()
    for change in case.moves.values():
        confusion = confusion_matrix(y, classifier.predict(change.undo(x)), int(y.max()) + 1).double()
        fractions, answers = (confusion / confusion.sum(1, keepdim=True).clamp_min(1)).max(1)
        changed = [
            f"{case.class_name(label)} looks like {case.class_name(int(answers[label]))}"
            for label in classifier.classes.tolist()
            if float(fractions[label]) > MIN_CHANGED
            and int(answers[label]) != label
            and int((answers[classifier.classes] == answers[label]).sum()) == 1
        ]
        if changed:
            texts.append(f"{change.fault}: {', '.join(changed[:MAX_SHOWN])}")
    return "; ".join(texts[:MAX_MOVES])
