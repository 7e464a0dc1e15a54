"""Two mistakes in one training: those of the data of one listed mistake, and the settings of another."""

from benchmarks.causes.cases import cases
from benchmarks.causes.fit import Fit

DETECTION = ("det-size-as-corner", "det-centre-as-corner", "det-boxes-of-original-size")
DIGITS = ("cls-labels-unsorted", "cls-validation-inverted", "cls-augmented-validation")
PAIRS = (  # the mistake in the data, that in the settings
    *(
        (data, settings)
        for data in DETECTION
        for settings in ("det-anchors-too-large", "det-untrained-backbone-frozen")
    ),
    *((data, "seg-zoom-without-mask") for data in ("seg-void-as-background", "seg-unsorted-pairs")),
    *(("kpt-unseen-at-corner", settings) for settings in ("kpt-last-relu", "kpt-flip-without-swap")),
    *((data, settings) for data in DIGITS for settings in ("cls-dropout-kept-for-dropped", "cls-schedule-per-batch")),
    ("cls-validation-inverted", "own-backward"),
    ("cls-labels-unsorted", "own-backward"),
    ("reg-target-not-scaled", "reg-relu-end"),
    ("trl-direction", "trl-output-range"),
)
SETTINGS = ("begin", "augment", "further")


def both_mistakes(data: str, settings: str, seed: int) -> Fit:
    """Return the training with the data of one mistake, and the settings of the other."""
    known = cases()
    wrong = known[settings](seed).mistaken
    return known[data](seed).mistaken.but(**{name: getattr(wrong, name) for name in SETTINGS})
