"""Small detection cases for the tests of the doctor."""

import torch

from pellucid.data import Batch
from pellucid.doctor.rehearsal import reinitialized
from pellucid.model import Model
from pellucid.ops.image_objects import Objects
from pellucid.tasks.detect.doctor import DetectionCase
from tests.detectors.drawn import Rectangles, small_single_stage


class ListSource:
    """A source of the given pairs of an image (C, H, W) and objects."""

    checksum = "given"

    def __init__(self, examples, classes=("red", "green"), swaps=None):
        self.examples, self.classes, self.swaps = examples, classes, swaps

    def __len__(self):
        return len(self.examples)

    def batch(self, indices, rng):
        images, targets = zip(*(self.examples[int(k)] for k in indices), strict=True)
        return Batch(torch.stack(images), list(targets))


def make_case(source=None, detector=None, trained=False):
    """Return the case of a newly drawn detector, by default on rectangles that its anchors fit."""
    model = Model(detector or small_single_stage(), input_shape=(3, None, None), metrics=())
    data = Rectangles(12) if source is None else source
    return DetectionCase(model, data, lambda: reinitialized(model), trained=trained)


def with_changed_objects(change, images=12):
    """Return a source of images with rectangles, whose objects are replaced by `change(objects)`."""
    examples = [Rectangles().example(k) for k in range(images)]
    return ListSource([(image, change(truth)) for image, truth in examples])


def enlarged_source(factor):
    """Return a source of images with rectangles, enlarged with their boxes by an integer factor."""

    def enlarge(k):
        image, truth = Rectangles().example(k)
        large_image = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        return large_image, Objects(truth.boxes * factor, truth.labels)

    return ListSource([enlarge(k) for k in range(12)])
