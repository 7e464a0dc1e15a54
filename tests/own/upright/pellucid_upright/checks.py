"""A check of the doctor for models of angles."""

from pellucid.doctor import Check, Finding

from .objective import directions

# Length of the mean direction: 0 for uniform angles, 1 for equal angles, 0.8 for a circular standard deviation of 38
# degrees, sqrt(-2 ln 0.8) radians.
MAX_LENGTH = 0.8


def check_directions(case):
    """Return a finding if the training pictures are turned by nearly the same angle, otherwise []."""
    length = float(directions(case.train.y).mean(0).norm())
    if length <= MAX_LENGTH:
        return []
    cause = "most training pictures are turned by nearly the same angle"
    fix = "add pictures of other angles, or turn the pictures at random in training"
    return [Finding("one-sided-angles", "train", {"length_of_mean_direction": length}, cause, fix)]


CHECKS = (Check("one-sided-angles", check_directions, examples=10, finds_faults=True),)
