"""Two mistakes in one training: those of the data of one listed mistake, and the settings of another."""

from benchmarks.causes.cases import cases
from benchmarks.causes.fit import Fit

DETECTION_DATA_MISTAKES = ("det-size-as-corner", "det-centre-as-corner", "det-boxes-of-original-size")
DIGIT_DATA_MISTAKES = ("cls-labels-unsorted", "cls-validation-inverted", "cls-augmented-validation")
PAIRS = (  # the mistake in the data, that in the settings
    *(
        (data, settings)
        for data in DETECTION_DATA_MISTAKES
        for settings in ("det-anchors-too-large", "det-untrained-backbone-frozen")
    ),
    *((data, "seg-zoom-without-mask") for data in ("seg-void-as-background", "seg-unsorted-pairs")),
    *(("kpt-unseen-at-corner", settings) for settings in ("kpt-last-relu", "kpt-flip-without-swap")),
    *(
        (data, settings)
        for data in DIGIT_DATA_MISTAKES
        for settings in ("cls-dropout-kept-for-dropped", "cls-schedule-per-batch")
    ),
    ("cls-validation-inverted", "own-backward"),
    ("cls-labels-unsorted", "own-backward"),
    ("reg-target-not-scaled", "reg-relu-end"),
    ("trl-direction", "trl-output-range"),
)
SETTINGS_FIELDS = ("begin", "augment", "further")


def both_mistakes(data: str, settings: str, seed: int) -> Fit:
    """Return the training with the data of one mistake, and the settings of the other."""
    cases_by_id = cases()
    settings_fit = cases_by_id[settings](seed).mistaken
    return cases_by_id[data](seed).mistaken.but(**{name: getattr(settings_fit, name) for name in SETTINGS_FIELDS})
