"""The U-Net of segmentation_models.pytorch from scratch: `python -m benchmarks.quality.peers.smp_unet train|predict`.

The default encoder, the Dice loss and Adam with a cosine of its examples of binary segmentation; crops, turned and
mirrored.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.quality.judge import MEMBRANE
from benchmarks.quality.peers.command import run

CROP = 256  # pixels, of pictures of 512
BATCH_SIZE = 4
RATE = 0.001  # that of the examples, 2e-4, is for an encoder that is trained


def read_image(file: Path) -> Tensor:
    """Return a picture (3, H, W), from -1 to 1."""
    values = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float()
    return values / 127.5 - 1


def network() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=1)


def crop_of(image: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a random crop, turned by a multiple of 90 degrees and perhaps mirrored."""
    top, left = rng.integers(0, image.shape[1] - CROP + 1), rng.integers(0, image.shape[2] - CROP + 1)
    both = torch.cat((image, mask))[:, top : top + CROP, left : left + CROP]
    both = torch.rot90(both, int(rng.integers(4)), (1, 2))
    if rng.integers(2):
        both = both.flip(2)
    return both[:3], both[3:]


def train(folder: Path, out: Path, epochs: int, seed: int) -> None:
    import segmentation_models_pytorch as smp

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pairs = []
    for file in sorted((folder / "data/image/train").iterdir()):
        mask = np.array(Image.open(folder / "data/label/train" / file.name)) == MEMBRANE
        pairs.append((read_image(file), torch.from_numpy(mask)[None].float()))
    model = network()
    loss = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    steps_per_epoch = -(-len(pairs) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps_per_epoch)
    for _ in range(epochs):
        order = rng.permutation(len(pairs))
        for start in range(0, len(pairs), BATCH_SIZE):
            crops = [crop_of(*pairs[k], rng) for k in order[start : start + BATCH_SIZE]]
            images = torch.stack([image for image, _ in crops])
            masks = torch.stack([mask for _, mask in crops])
            optimizer.zero_grad()
            loss(model(images), masks).backward()
            optimizer.step()
            schedule.step()
    torch.save(model.state_dict(), out / "model.pt")


def predict(folder: Path, out: Path) -> None:
    model = network()
    model.load_state_dict(torch.load(out / "model.pt"))
    model.eval()
    (out / "predictions").mkdir(exist_ok=True)
    with torch.inference_mode():
        for file in sorted((folder / "held_out").iterdir()):
            is_membrane = model(read_image(file)[None])[0, 0] > 0
            mask = np.where(is_membrane.numpy(), MEMBRANE, 255).astype(np.uint8)
            Image.fromarray(mask).save(out / "predictions" / file.name)


if __name__ == "__main__":
    run(train, predict)
