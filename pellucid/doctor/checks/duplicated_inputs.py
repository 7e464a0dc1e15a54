"""Training examples that are copies of one another, and copies with different labels."""

from math import prod

import torch

from pellucid.data.quality import exact_duplicates
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import digests
from pellucid.doctor.remedies import with_examples

MAX_COPIES = 0.1  # fraction of the examples; in CIFAR-10, 3 % have near duplicates (Barz and Denzler 2020)
MAX_CONTRADICTIONS = 0.01  # fraction of the examples that are copies with different labels
MIN_VALUES = 16  # features of an input; with fewer, equal inputs are frequent in correct data too


def find(case: Case) -> list[Finding]:
    """Compare all training examples bit by bit."""
    data = case.train
    n = len(data)
    if case.resampled or n < 2 or prod(data.x.shape[1:]) < MIN_VALUES:
        return []
    hashes = digests(data.x)
    pairs = [pair for pair in exact_duplicates(hashes) if hashes[pair.first]]
    contradictions = [pair for pair in pairs if not torch.equal(data.y[pair.first], data.y[pair.second])]
    evidence: Evidence = {"examples": n, "copies": len(pairs), "share": len(pairs) / n}
    has_many_copies = len(pairs) >= 2 and len(pairs) / n > MAX_COPIES
    n_of_one = int(torch.tensor([pair.first for pair in pairs]).bincount().max()) if pairs else 0
    remedy = None
    if has_many_copies:
        evidence["different_inputs"] = n - len(pairs)
        evidence["copies_of_the_commonest"] = n_of_one
        is_first = torch.ones(n, dtype=torch.bool)
        is_first[[pair.second for pair in pairs]] = False
        remedy = Remedy("training with each input once", lambda case: with_examples(case, is_first), "without-copies")
    if n_of_one / n > MAX_COPIES and n_of_one > len(pairs) / 2:
        cause = "one input replaces many others, such as a placeholder for missing files"
        fix = "look at the commonest input, and leave its copies out"
    elif len(contradictions) >= 2 and len(contradictions) / n > MAX_CONTRADICTIONS:
        evidence["copies_with_another_label"] = len(contradictions)
        cause = "the same inputs are labelled in different ways, so no network can predict all of them correctly"
        fix = "find out which label is right, and keep each input once"
    elif has_many_copies:
        cause = "files were read more than once, or examples were copied to have more of them"
        fix = "keep each input once; for rare classes, sample them more often or augment them"
    else:
        return []
    return [Finding(NAME, "train", evidence, cause, fix, remedy)]


NAME = "duplicated-inputs"
CHECK = Check(
    NAME, find, examples=2, finds_faults=True,
    explains=("shuffled-labels", "label-noise", "overfitting", "underfitting"),
)  # fmt: skip
