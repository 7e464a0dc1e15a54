"""Classes of which a part of the training examples has one and the same other label, as no validation example has."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.simple import confusion, simple

MIN_EXAMPLES = 200  # of each part
MIN_MEMBERS = 12  # examples of a class in each part
MIN_CLASSES = 3  # with two classes, labels can only be exchanged, which is label noise
MAX_EXAMPLES = 4_000  # of training
MORE = 0.12  # of a class's examples, beyond those taken for the other one in validation
CLEAR = 4.0  # standard deviations, of some hundred pairs
ALIKE = 0.1  # of the examples of the typical class, by which the parts may differ else
SHOWN = 6  # pairs


def look(case: Case) -> list[Finding]:
    """Let a simple classifier learn from validation, and compare what it confuses there with what it does in training.

    Classes that look alike are confused in both parts (as in Northcutt, Jiang and Chuang 2021, with trusted labels).
    """
    train = case.simple
    if train is None or case.validation is None:
        return []
    judge = simple(case.validation, case.model.seed, train.classes)
    if judge is None or len(judge.classes) < MIN_CLASSES:
        return []
    part = subsample(case.train, MAX_EXAMPLES, case.model.seed)
    count = 1 + int(torch.maximum(part.y.max(), judge.y.max()))
    there = confusion(judge.y, judge.held_out, count).double()
    here = confusion(part.y, judge.predict(part.x), count).double()
    n, m = here.sum(1, keepdim=True), there.sum(1, keepdim=True)
    usual, found = there / m.clamp_min(1), here / n.clamp_min(1)
    pooled = ((here + there) / (n + m).clamp_min(1)).clamp(1 / count**2, 1)
    spread = (pooled * (1 - pooled) * (1 / n.clamp_min(1) + 1 / m.clamp_min(1))).sqrt()
    beyond = found - usual
    enough = (n >= MIN_MEMBERS) & (m >= MIN_MEMBERS)
    odd = (beyond > torch.maximum(torch.tensor(MORE), CLEAR * spread)) & enough & ~torch.eye(count, dtype=torch.bool)
    if not bool(odd.any()) or int(odd.sum(1).max()) > 1:
        return []
    rest = (beyond.clamp_min(0) * ~odd).fill_diagonal_(0).sum(1)[enough.flatten()]
    if float(rest.median()) > ALIKE:
        return []  # the parts differ in more than labels
    pairs = sorted(odd.nonzero().tolist(), key=lambda pair: -float(beyond[pair[0], pair[1]]))
    named = [f"{case.class_name(b)} labelled {case.class_name(a)}" for a, b in pairs]
    evidence: Evidence = {
        "classes": int(enough.sum()),
        "classes_with_another_one's_examples": len(pairs),
        "which": ", ".join(named[:SHOWN]),
        "share_of_their_training_examples": float(found[odd].mean()),
        "share_taken_for_it_in_validation": float(usual[odd].mean()),
        "training_examples": len(part),
    }
    if len(pairs) >= max(MIN_CLASSES, int(enough.sum()) / 2):
        cause = "a part of the training labels numbers the classes otherwise, as when two data sets are merged"
        fix = "map the labels of each source to one list of classes before merging"
    else:
        cause = "a part of a class was given another one's label in training, as by someone who takes the one for the "
        cause += "other"
        fix = "look at the examples of the classes named, and label them by one written rule"
    return [Finding(NAME, "train", evidence, cause, fix)]


NAME = "confused-labels"
CHECK = Check(
    NAME, look, examples=MIN_EXAMPLES, unseen=MIN_EXAMPLES, proven=True,
    explains=("label-noise", "miscalibration"),
)  # fmt: skip
