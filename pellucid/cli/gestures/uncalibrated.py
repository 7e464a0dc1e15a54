"""What `pellucid gestures predict` says of a model without fitted confidence."""

import sys


def warn_uncalibrated(uncalibrated: bool) -> None:
    """Tell people that no answer will be "unsure"."""
    if uncalibrated:
        print("the model holds no fitted confidence, so that no answer is unsure", file=sys.stderr)
