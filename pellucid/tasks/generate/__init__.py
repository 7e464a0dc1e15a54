"""Generation of images: sheets of samples, and their evaluation."""

from pellucid.tasks.generate.judge import Judged, evaluate, judge
from pellucid.tasks.generate.samples import is_generator, write_samples

__all__ = ["Judged", "evaluate", "is_generator", "judge", "write_samples"]
