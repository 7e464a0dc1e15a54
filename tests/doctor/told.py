"""A diagnosis made by hand, of two causes, one of which has consequences in a chain."""

from pellucid.doctor import Diagnosis, Finding
from pellucid.doctor.attempts import Attempt

RATE = {"loss_at_it": 2.3125, "best_factor": 0.1, "steps": 1250}
LARGE = "the steps are <large>"
DEAD = ("their bias fell", "draw them anew")  # what else it could come from, which is not said


def ill() -> Diagnosis:
    findings = (
        Finding("learning-rate", "training", RATE, LARGE, "go slower & start lower", proven=True),
        Finding("duplicates", "train", {"copies": -3, "why": "same-bytes"}, "a file came twice", "remove it"),
        Finding("dead-units", "block.relu1", {"dead": 20, "share": 0.66666}, *DEAD),
        Finding("dead-units", "relu2", {"dead": 3, "share": 1.0}, *DEAD),
        Finding("useless-maps", "conv", {"maps": 2}, "their units died", "see above"),
    )
    tried = Attempt("a tenth of the learning rate", 150, (None, 0.25), (None, 0.875), "validation")
    follows = {2: "learning-rate", 3: "learning-rate", 4: "dead-units"}
    return Diagnosis(findings, ("a",) * 12, follows, {0: tried}, gone=frozenset({2, 3}))


def healthy() -> Diagnosis:
    return Diagnosis((), ("a",) * 12, {}, {}, dict.fromkeys(("learning-rate", "update-ratio"), "nobody knows how"))
