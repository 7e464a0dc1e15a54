"""Train a backbone on free pictures only: `python -m benchmarks.free_backbone VARIANT FILE`, four minutes on one core.

A MobileNetV2 learns the classes of pictures whose licences permit commercial use, without any trained network. VARIANT:
"free", or "random": a learning rate of 0, so that only the statistics of batch normalization are computed. The training
images of the two sets that judge the result, signs and bccd, are not used; docs/decisions.md has the figures.
"""

import math
import sys

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pellucid.data import Augment, Batch, data_root, float_images, load, load_image
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mobilenet_v2
from pellucid.models.fcn import KERAS_EPSILON
from pellucid.optim import AdamW
from pellucid.training.step import TrainingStep

FIRST_CLASSES = {"drawn": 0, "mnist": 48, "hands": 58, "hall": 63}  # of each set's classes
CLASSES = 87  # 13 were for signs and bccd, in a variant with their training images
WEIGHTS = {"drawn": 0.30, "mnist": 0.15, "hands": 0.10, "hall": 0.10}  # for sampling
STEPS, WARMUP, LR, BATCH, SIDES = 850, 50, 2e-3, 32, (64, 96)  # SIDES: pixels of the images, in turn
AUGMENTATION = Augment(
    flip=True, rotate=20.0, shift=0.1, zoom=0.2, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, fill="reflect"
)


class FreePictures:
    """Random training images with their classes."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng = rng
        hands, hall = data_root() / "wild/multilabel/train", data_root() / "wild/mask-beside/train"
        rows = [line.split(",") for line in (hands / "_classes.csv").read_text(encoding="utf-8").splitlines()[1:]]
        mnist = load("mnist").train
        self.labelled = {
            "mnist": [*zip(mnist.x, mnist.y.tolist(), strict=True)],
            "hands": [(load_image(hands / name), [int(value) for value in values].index(1)) for name, *values in rows],
        }
        masks = {str(path): load_image(path, mode="L") for path in sorted(hall.glob("*_mask.png"))}
        self.hall = [torch.cat([load_image(path.replace("_mask.png", ".jpg")), mask]) for path, mask in masks.items()]

    def batch(self, side: int) -> Batch:
        """Return augmented pictures from -1 to 1, and their classes."""
        weights = torch.tensor([*WEIGHTS.values()])
        names = [[*WEIGHTS][k] for k in torch.multinomial(weights, BATCH, replacement=True, generator=self.rng)]
        pictures = [self._picture(name, side) for name in names]
        labels = torch.tensor([FIRST_CLASSES[name] + label for name, (_, label) in zip(names, pictures, strict=True)])
        images = torch.stack([resized(image, side) for image, _ in pictures])
        return Batch(AUGMENTATION(images, self.rng).clamp(0, 1) * 2 - 1, labels)

    def _picture(self, name: str, side: int) -> tuple[Tensor, int]:
        if name == "hall":  # a random window, with the class of most of its pixels
            image = self.hall[self._index(len(self.hall))]
            size = 96 + self._index(224)
            top, left = self._index(image.shape[1] - size), self._index(image.shape[2] - size)
            window = image[:, top : top + size, left : left + size]
            return window[:3], int(window[3].flatten().mode().values)
        if name == "drawn":
            label = self._index(8) * 6 + self._index(6)
            return self._textured(self._shape(label // 6, side), label % 6), label
        image, label = self.labelled[name][self._index(len(self.labelled[name]))]
        if name == "mnist":
            image = self._textured(resized(pad(image, (2, 2, 2, 2)), side)[0], self._index(6))
        return image, label

    def _shape(self, shape: int, side: int) -> Tensor:  # a polygon of 3 to 6 sides, a disc, a ring, a star, a flower
        turn, radius, x, y = (torch.rand(4, generator=self.rng) * torch.tensor([6.28, 0.3, 0.4, 0.4])).tolist()
        across, step = torch.linspace(-1, 1, side), 2 * math.pi / (shape + 3)
        u, v = across - x + 0.2, across[:, None] - y + 0.2
        angle, distance = torch.atan2(v, u) + turn, torch.hypot(u, v) / (0.5 + radius)
        polygon = 0.6 / torch.cos(angle % step - step / 2)
        star, flower = 0.65 + 0.3 * torch.cos(5 * angle), 0.6 + 0.4 * torch.cos(3 * angle)
        outside = distance >= [polygon, polygon, polygon, polygon, 1.0, 1.0, star, flower][shape]
        return 1 - (outside | (distance <= (0.55 if shape == 5 else 0.0))).float()

    def _textured(self, mask: Tensor, kind: int) -> Tensor:
        background = self._texture(self._index(6), len(mask))
        return background.lerp(self._texture(kind, len(mask)), mask)

    def _texture(self, kind: int, side: int) -> Tensor:  # two colours, mixed by a pattern
        colours, frequency = torch.rand(2, 3, 1, 1, generator=self.rng), 10 + self._index(25)
        turn, across = self._index(314) / 100, torch.linspace(-1, 1, side) * frequency
        u = torch.sin(math.cos(turn) * across + math.sin(turn) * across[:, None])
        v = torch.sin(math.cos(turn) * across[:, None] - math.sin(turn) * across)
        noise = torch.rand(side, side, generator=self.rng)
        clouds = resized(torch.rand(1, 6, 6, generator=self.rng), side)[0]
        return colours[0].lerp(colours[1], [u * 0, u > 0, u * v > 0, u * v > 0.5, noise, clouds][kind].float())

    def _index(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.rng))


def resized(image: Tensor, side: int) -> Tensor:
    """Return an image (C, H, W) as (C, side, side), from 0 to 1."""
    return interpolate(float_images(image)[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]


def main(variant: str, file: str) -> None:
    rng = torch.Generator().manual_seed(0)
    pictures = FreePictures(rng)
    net = mobilenet_v2(CLASSES, epsilon=KERAS_EPSILON, pad="same")
    half = [0.5] * 3
    model = Model(net, SoftmaxCrossEntropy(), input_shape=(3, 96, 96), preprocess={"mean": half, "std": half}, seed=0)
    step = TrainingStep(model.objective, model.params, AdamW(LR, weight_decay=0.01), examples=1)
    steps, lr = (60, 0.0) if variant == "random" else (STEPS, LR)
    for index in range(steps):
        factor = min(1.0, (index + 1) / WARMUP) * (1 + math.cos(math.pi * index / steps)) / 2
        step(pictures.batch(SIDES[index % 2]), lr * factor, rng)
    model.save(file)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(*sys.argv[1:])
