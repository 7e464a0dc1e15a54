"""The handwritten digits that lessons learn from."""

from dataclasses import replace

from pellucid.data import Splits
from pellucid.data.catalogue import CATALOGUE, data_root, load
from pellucid.lessons.lesson import Setting


def handwritten(setting: Setting, images: int = 50_000) -> Splits:
    """Return MNIST with its first `images` training images, whose name says which data they are.

    The small form, and every form where the data root has no MNIST, uses the 8x8 digits that come with scikit-learn.
    Raises PellucidError for damaged files.
    """
    present = (data_root(setting.data) / CATALOGUE["mnist"].place).is_dir()
    splits = load("digits" if setting.small or not present else "mnist", setting.data)
    return replace(splits, train=splits.train.subset(range(min(images, len(splits.train)))))
