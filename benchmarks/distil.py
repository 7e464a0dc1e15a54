"""Train and ship the backbone: `python -m benchmarks.distil blocks chain card`, about 20 minutes on one core.

A MobileNetV2 with random weights is trained to reproduce the outputs of Keras' published MobileNetV2 on images of small
data sets. "blocks": each block receives the output of the teacher's previous block. "chain": each block receives the
output of the student's previous block, and the sum of all blocks' errors is minimized. "card": the shipped file is
evaluated and its model card written. BCCD and CamVid are not used because they are the downstream benchmarks.
"""

import argparse
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.licences import licence_row, with_licence
from pellucid import __version__
from pellucid.combine import Sequential
from pellucid.data import CATALOGUE, Augment, Batch, data_root, load_image
from pellucid.data.tree import open_tree
from pellucid.fuse import fuse
from pellucid.fuse.inference import inference
from pellucid.layers import Identity
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import Loss, Quadratic
from pellucid.model import Model
from pellucid.models import features, mobilenet_v2
from pellucid.models.fcn import KERAS_EPSILON
from pellucid.nested import flatten
from pellucid.network.summary import summary
from pellucid.objective import Gradients, Objective
from pellucid.optim import AdamW
from pellucid.recipe.start import trained_network
from pellucid.run.weights import write_weights
from pellucid.sweep import backward
from pellucid.training.step import TrainingStep, channels_last

TEACHER = "mobilenet_v2-keras-notop"
WEIGHTS_FILE = Path(__file__).resolve().parent.parent / "pretrained" / "backbone.safetensors"
# For each data set: the folder of its training images, that of its held-out images, and its sampling weight.
IMAGE_SETS = {
    "pennfudan": ("train/", "val/", 0.40),
    "cifar10": ("train/", "test/", 0.30),
    "faces": ("train/", "val/", 0.15),
    "signs": ("train/", "val/", 0.15),
}
MOSAIC_GRIDS = (2, 3, 4)  # images of CIFAR-10 along each side of a mosaic
MIN_SIDE_FOR_SMALL_CROPS = 200  # pixels; images whose shorter side is longer are cropped more tightly
AUGMENTATION = Augment(
    flip=True, vertical_flip=True, mosaic=0.2, brightness=0.4, contrast=0.4, saturation=0.5, hue=0.25, fill="reflect"
)
MIX_FRACTION = 0.25  # fraction of the crops that are mixed with another crop
MIN_RELATIVE_VARIANCE = 1e-2  # lower bound of a channel's variance, relative to the mean variance of the channels
CROP_BATCHES = ((128, 16), (160, 10), (192, 7))  # side in pixels, and number of crops in a batch
PHASES = {"blocks": (1_500, 1e-2), "chain": (2_000, 1.5e-3)}  # steps, learning rate
CARD_ACTION = "card"  # the action that is not a phase
WARMUP = 100  # steps
N_REFERENCE_CROPS = 128  # crops over which the channels' variances are computed
HELD_SIDE, HELD_COUNT = 224, 64  # held-out crops
LOG_INTERVAL = 500  # steps

CARD = """# {name}

Features of images, to start detectors, segmenters, key-point networks and classifiers from: MobileNetV2 without its
classifier, trained by this project to compute what Keras' published MobileNetV2 computes.

Written by `python -m benchmarks.distil`, which evaluated the shipped file; nothing is typed by hand.

| | |
|---|---|
| measured on | {held:,} random crops of {side} x {side} pixels from {held_images:,} held-out images |
| parameters | {parameters:,} |
| multiply-adds per image of 224 x 224 | {multiply_adds:,} |
| file | {size:,} bytes in float16, weights SHA-256 {sha} |
| trained by | `python -m benchmarks.distil`: {training} |
| measured with | Pellucid {version}, PyTorch {torch} |
{licence}

`start.weights={name}` in a recipe starts from it without a download, wherever `{teacher}` does,
with the same network settings (`network.epsilon=0.001` where the recipe has a network). `Model.load` gives a model
whose outputs are feature maps, of images from 0 to 1; it names no classes.

## Errors by block

The relative error is the squared difference from the teacher's output divided by the variance of the channel, averaged
over channels; 0 is the teacher, 1 is no better than the channel's mean. The cosine is that of the outputs less the
teacher's mean in each channel. Every block receives the output of the previous one of the same network.

| block | output | relative error | cosine |
|---|---|---:|---:|
{errors}

## Training images

No image of BCCD or CamVid was used, and none of the held-out images.

| set | images | folder | part of the crops | held-out images | about |
|---|---:|---|---:|---:|---|
{sets}

They are all images in these folders. Digest of their names and contents, SHA-256: {digest}.

## Network

```
{summary}
```
"""


@dataclass(frozen=True)
class RelativeError(Loss):
    """The mean squared error, each channel divided by the variance v of the teacher's: 1/NCHW Σ (y - t)² / v."""

    variance: Tensor  # (C,)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient dy with respect to y."""
        error = y - target
        dy = error * (2 / (self.variance.view(1, -1, 1, 1) * y.numel()))
        return (error * dy).sum() / 2, dy


@dataclass(frozen=True)
class Blocks(Objective):
    """The objective of a student's blocks; the targets of a batch are the outputs of the teacher's blocks.

    chained: whether each block receives the output of the student's previous block, not the teacher's.
    """

    blocks: Mapping[str, Layer]
    losses: Mapping[str, Loss]
    chained: bool

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The blocks by name."""
        return self.blocks

    def with_nets(self, nets: Mapping[str, Layer]) -> "Blocks":
        """Return the objective with other blocks."""
        return replace(self, blocks=nets)

    def fused(self) -> "Blocks":
        """Return the objective with the blocks in their fused form."""
        return self.with_nets({name: fuse(block, need_dx=self.chained) for name, block in self.blocks.items()})

    def predict(self, params: Params, images: Any) -> Any:
        """Return the output of the last block."""
        for name, block in self.blocks.items():
            images = block.forward(params[name], images, Mode(keep=False))[0]
        return images

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the relative error of each block, and the gradients of their sum."""
        losses: dict[str, Tensor] = {}
        dparams: Params = {}
        passes: list[tuple[str, Layer, Any, Tensor]] = []
        x = batch.images
        for (name, block), target in zip(self.blocks.items(), batch.targets, strict=True):
            y, cache = block.forward(params[name], x, mode)
            losses[name], dy = self.losses[name](y, target)
            passes.append((name, block, cache, dy))
            x = y if self.chained else target
        dx: Tensor | None = None
        for name, block, cache, dy in reversed(passes):
            total = dy + dx if self.chained and dx is not None else dy
            dx, dparams[name] = backward(block, params[name], cache, total, consume=True)
        return losses, dparams


def blocks_of(net: Layer, params: Params) -> tuple[dict[str, Layer], Params]:
    """Return the blocks of MobileNetV2's features by name, and their parameters.

    The stem is part of the first block; as a block of its own it would be fitted as a linear regression on the images.
    """
    assert isinstance(net, Sequential)
    first_block = ("stem", "stage1")
    blocks: dict[str, Layer] = {"stage1": Sequential(**{name: net.children[name] for name in first_block})}
    block_params: Params = {"stage1": {name: params[name] for name in first_block}}
    for name, stage in net.children.items():
        if name == "last":
            blocks[name], block_params[name] = stage, params[name]
        elif name not in first_block:
            assert isinstance(stage, Sequential)
            for number, block in stage.children.items():
                blocks[f"{name}_{number}"], block_params[f"{name}_{number}"] = block, params[name][number]
    return blocks, block_params


class Pictures:
    """The training or held-out images of each set, in memory. digest: SHA-256 of their names and contents."""

    def __init__(self, held_out: bool) -> None:
        self.images: dict[str, list[Tensor]] = {}
        digest = hashlib.sha256()
        for name, (train_folder, held_out_folder, _) in IMAGE_SETS.items():
            prefix = held_out_folder if held_out else train_folder
            with open_tree(data_root() / CATALOGUE[name].path) as tree:
                files = [file for file in tree.names if file.startswith(prefix) and file.endswith(".jpg")]
                data = [tree.read(file) for file in files]
            for file, content in zip(files, data, strict=True):
                digest.update(f"{name}/{file} {hashlib.sha256(content).hexdigest()}\n".encode())
            self.images[name] = [load_image(content) for content in data]
        self.digest = digest.hexdigest()

    def crops(self, count: int, side: int, rng: torch.Generator) -> Tensor:
        """Return random crops (count, 3, side, side) from 0 to 1, in random colours."""
        weights = torch.tensor([weight for *_, weight in IMAGE_SETS.values()])
        set_indices = torch.multinomial(weights, count, replacement=True, generator=rng)
        x = AUGMENTATION(
            torch.stack([self._crop([*IMAGE_SETS][index], side, rng) for index in set_indices.tolist()]), rng
        )
        mix_weights = (torch.rand(count, generator=rng) < MIX_FRACTION).float() * torch.rand(count, generator=rng) / 2
        return x.lerp(x.roll(1, 0), mix_weights.view(-1, 1, 1, 1)).clamp(0, 1)

    def _crop(self, name: str, side: int, rng: torch.Generator) -> Tensor:
        """Return a random crop of a random image of a set, or a mosaic of CIFAR-10's images: (3, side, side)."""
        if name == "cifar10":
            cells = MOSAIC_GRIDS[_index(len(MOSAIC_GRIDS), rng)]
            size = -(-side // cells)
            tiles = torch.stack([self._image(name, rng) for _ in range(cells * cells)])
            tiles = interpolate(tiles, (size, size), mode="bilinear", align_corners=False)
            tiles = tiles.view(cells, cells, 3, size, size).permute(2, 0, 3, 1, 4).reshape(3, cells * size, -1)
            return tiles[:, :side, :side]
        image = self._image(name, rng)
        height, width = image.shape[1:]
        min_ratio = 0.25 if min(height, width) > MIN_SIDE_FOR_SMALL_CROPS else 0.5
        max_side = min(height, width) * math.exp(math.log(min_ratio) * torch.rand((), generator=rng).item())
        sides = [max(16, round(max_side * (0.8 + 0.2 * torch.rand((), generator=rng).item()))) for _ in range(2)]
        top, left = _index(height - sides[0] + 1, rng), _index(width - sides[1] + 1, rng)
        crop = image[None, :, top : top + sides[0], left : left + sides[1]]
        return interpolate(crop, (side, side), mode="bilinear", align_corners=False, antialias=True)[0]

    def _image(self, name: str, rng: torch.Generator) -> Tensor:
        images = self.images[name]
        return images[_index(len(images), rng)].float() / 255


def _index(count: int, rng: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=rng))


class PretrainedBlocks:
    """The blocks of a MobileNetV2 with trained weights, compiled for inference. name: as in `start.weights`."""

    def __init__(self, name: str) -> None:
        net, trained = trained_network(name, "mobilenet_v2")
        blocks, params = blocks_of(features(net), trained.params)
        channels_last(params)
        self.block_functions = {name: inference(block, params[name]) for name, block in blocks.items()}
        self.mean, self.std = trained.mean, trained.std

    def batch(self, images: Tensor) -> Batch:
        """Return the standardized images (N, 3, H, W), with the output of each block as the targets."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        x = y = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        return Batch(x, [y := run(y) for run in self.block_functions.values()])

    def losses(self, images: Tensor) -> dict[str, Loss]:
        """Return the loss of each block, relative to the variances of its channels over the images."""
        losses: dict[str, Loss] = {}
        for name, y in zip(self.block_functions, self.batch(images).targets, strict=True):
            variance = y.var((0, 2, 3))
            losses[name] = RelativeError(variance.clamp(min=MIN_RELATIVE_VARIANCE * float(variance.mean())))
        return losses


def train(phase: str, teacher: PretrainedBlocks, pictures: Pictures) -> None:
    """Train the features of a MobileNetV2 on the teacher's outputs, and write the file every LOG_INTERVAL steps.

    phase: "blocks" starts from random weights, "chain" from the weights in the file.
    """
    chained, (steps, lr) = phase != "blocks", PHASES[phase]
    rng = torch.Generator().manual_seed([*PHASES].index(phase))
    net = features(mobilenet_v2(epsilon=KERAS_EPSILON, pad="same"))
    params = Model.load(WEIGHTS_FILE).params["features"] if chained else net.init((3, HELD_SIDE, HELD_SIDE), rng)[0]
    blocks, block_params = blocks_of(net, params)
    objective = Blocks(blocks, teacher.losses(pictures.crops(N_REFERENCE_CROPS, CROP_BATCHES[0][0], rng)), chained)
    step = TrainingStep(objective, block_params, AdamW(lr, weight_decay=0.0), examples=1)
    for index in range(steps):
        factor = min(1.0, (index + 1) / WARMUP) * (1 + math.cos(math.pi * index / steps)) / 2
        side, count = CROP_BATCHES[_index(len(CROP_BATCHES), rng)]
        losses = step(teacher.batch(pictures.crops(count, side, rng)), lr * factor)
        if (index + 1) % LOG_INTERVAL == 0:
            print(phase, index + 1, *(f"{float(value):.3f}" for value in losses.values()), flush=True)
            write_student(params)


def write_student(params: Params) -> None:
    """Write the shipped file: a model that outputs feature maps."""
    net = Sequential(features=features(mobilenet_v2(epsilon=KERAS_EPSILON, pad="same")), head=Identity())
    half = [0.5] * 3  # mean and standard deviation of the teacher's preprocessing
    model = Model(net, Quadratic(), input_shape=(3, None, None), preprocess={"mean": half, "std": half})
    for path, tensor in flatten({"features": params}).items():
        model.weights[path].copy_(tensor)
    weights = {path: tensor.half() for path, tensor in model.weights.items()}
    write_weights(WEIGHTS_FILE, weights, with_licence(WEIGHTS_FILE.stem, model.about()))


def measure(teacher: PretrainedBlocks, pictures: Pictures) -> list[str]:
    """Return the rows of the card's table: the errors of each block of the shipped file on held-out images."""
    images = pictures.crops(HELD_COUNT, HELD_SIDE, torch.Generator().manual_seed(1))
    losses, teacher_outputs = teacher.losses(images), teacher.batch(images).targets
    student_outputs = PretrainedBlocks(WEIGHTS_FILE.stem).batch(images).targets
    rows: list[str] = []
    for (name, loss), y, target in zip(losses.items(), student_outputs, teacher_outputs, strict=True):
        centre = target.mean((0, 2, 3), keepdim=True)
        a, b = (y - centre).flatten().double(), (target - centre).flatten().double()
        cosine, shape = float(a @ b / (a.norm() * b.norm())), " x ".join(map(str, y.shape[1:]))
        rows.append(f"| {name.replace('_', '.')} | {shape} | {float(loss(y, target)[0]):.3f} | {cosine:.3f} |")
    return rows


def write_card(teacher: PretrainedBlocks, pictures: Pictures) -> None:
    """Measure the shipped file and write its card."""
    held_out, model = Pictures(True), Model.load(WEIGHTS_FILE)
    table = summary(model.net, model.params, (3, HELD_SIDE, HELD_SIDE))
    sets = [
        f"| {name} | {len(pictures.images[name]):,} | `{train}` | {weight:.0%} | "
        f"{len(held_out.images[name]):,} in `{out}` | {CATALOGUE[name].about} |"
        for name, (train, out, weight) in IMAGE_SETS.items()
    ]
    card = CARD.format(
        name=WEIGHTS_FILE.stem,
        teacher=TEACHER,
        held=HELD_COUNT,
        side=HELD_SIDE,
        held_images=sum(map(len, held_out.images.values())),
        parameters=table.parameters,
        multiply_adds=table.multiply_adds,
        size=WEIGHTS_FILE.stat().st_size,
        sha=model.sha256(),
        training=" and ".join(f"{steps:,} steps of `{phase}`" for phase, (steps, _) in PHASES.items()),
        version=__version__,
        torch=torch.__version__,
        licence=licence_row(WEIGHTS_FILE.stem),
        errors="\n".join(measure(teacher, held_out)),
        sets="\n".join(sets),
        digest=pictures.digest,
        summary=table,
    )
    WEIGHTS_FILE.with_suffix(".md").write_text(card, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("actions", nargs="+", choices=[*PHASES, CARD_ACTION])
    actions = parser.parse_args().actions
    torch.set_grad_enabled(False)
    teacher, pictures = PretrainedBlocks(TEACHER), Pictures(False)
    for action in actions:
        if action == CARD_ACTION:
            write_card(teacher, pictures)
        else:
            train(action, teacher, pictures)


if __name__ == "__main__":
    main()
