"""Hand-written diagnoses: two causes, one with a chain of consequences, and a healthy model."""

from pellucid.doctor import Diagnosis, Finding
from pellucid.doctor.intervention import MeasuredEffect

RATE_EVIDENCE = {"loss_at_it": 2.3125, "best_factor": 0.1, "steps": 1250}
RATE_CAUSE = "the steps are <large>"
DEAD_TEXTS = ("their bias fell", "draw them anew")  # cause and fix of a consequence, which are not reported


def diagnosis_with_findings() -> Diagnosis:
    findings = (
        Finding("learning-rate", "training", RATE_EVIDENCE, RATE_CAUSE, "go slower & start lower", proven=True),
        Finding("duplicates", "train", {"copies": -3, "why": "same-bytes"}, "a file came twice", "remove it"),
        Finding("dead-units", "block.relu1", {"dead": 20, "share": 0.66666}, *DEAD_TEXTS),
        Finding("dead-units", "relu2", {"dead": 3, "share": 1.0}, *DEAD_TEXTS),
        Finding("useless-maps", "conv", {"maps": 2}, "their units died", "see above"),
    )
    attempt = MeasuredEffect(
        "learning-rate", "a tenth of the learning rate", "mean recall", (0.0, 0.0), (0.75, 1.0), 0.625, 1.125, "cause",
        200, 150,
    )  # fmt: skip
    cause_by_consequence = {2: "learning-rate", 3: "learning-rate", 4: "dead-units"}
    return Diagnosis(
        findings,
        ("a",) * 12,
        cause_by_consequence,
        {0: attempt},
        resolved=frozenset({2, 3}),
        intervention_effects=(attempt,),
    )


def healthy_diagnosis() -> Diagnosis:
    return Diagnosis((), ("a",) * 12, {}, {}, dict.fromkeys(("learning-rate", "update-ratio"), "nobody knows how"))
