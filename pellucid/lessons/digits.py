"""The handwritten digits that lessons learn from."""

from dataclasses import replace

from pellucid.data import Splits
from pellucid.data.catalogue import data_root, load
from pellucid.data.entries import CATALOGUE
from pellucid.lessons.lesson import LessonSettings


def handwritten(settings: LessonSettings, images: int = 50_000) -> Splits:
    """Return MNIST with only its first `images` training images.

    In the small form, and if MNIST is not in the data root, return scikit-learn's 8x8 digits instead; the `name` of the
    data sets identifies them. Raises PellucidError for damaged files.
    """
    has_mnist = (data_root(settings.data) / CATALOGUE["mnist"].path).is_dir()
    splits = load("digits" if settings.small or not has_mnist else "mnist", settings.data)
    return replace(splits, train=splits.train.subset(range(min(images, len(splits.train)))))
