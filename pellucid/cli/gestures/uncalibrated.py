"""What `pellucid gestures predict` says of a model without fitted confidence."""

from pellucid.text import note


def warn_uncalibrated(uncalibrated: bool) -> None:
    """Tell people that no answer will be "unsure"."""
    if uncalibrated:
        note("the model holds no fitted confidence, so that no answer is unsure")
