"""timm's ResNet-18 from scratch: `python -m benchmarks.quality.peers.timm_resnet18 train|predict FOLDER OUT ...`.

Augmentation, optimizer and schedule are timm's, with the values of its guide to training (SGD with momentum, cosine
with a warmup), whose rate of 0.4 for batches of 1,024 is scaled to the batch.
"""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from benchmarks.quality.peers.command import run

SIZE = 64  # pixels, as Pellucid plans for these pictures; at 96, one epoch fits into a minute of one core
BATCH_SIZE = 32
RATE = 0.0125


def load(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


class Photos(torch.utils.data.Dataset[Any]):
    """Pictures in class folders, decoded once."""

    def __init__(self, folder: Path, transform: Any) -> None:
        self.classes = sorted(path.name for path in folder.iterdir())
        self.items = [
            (load(file), index) for index, name in enumerate(self.classes) for file in sorted((folder / name).iterdir())
        ]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.items[index]
        return self.transform(image), label


def train(folder: Path, out: Path, epochs: int, seed: int) -> None:
    import timm
    from timm.data import create_transform
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    torch.manual_seed(seed)
    photos = Photos(folder / "data/train", create_transform(SIZE, is_training=True))
    loader = torch.utils.data.DataLoader(photos, BATCH_SIZE, shuffle=True, drop_last=True)
    model = timm.create_model("resnet18", pretrained=False, num_classes=len(photos.classes))
    optimizer = create_optimizer_v2(model, "sgd", lr=RATE, weight_decay=2e-5, momentum=0.9)
    n_steps = epochs * len(loader)
    schedule = CosineLRScheduler(
        optimizer, n_steps, warmup_t=max(1, n_steps // 20), warmup_lr_init=1e-5, t_in_epochs=False
    )
    loss = LabelSmoothingCrossEntropy(0.1)
    step = 0
    schedule.step_update(0)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()
            step += 1
            schedule.step_update(step)
    torch.save({"weights": model.state_dict(), "classes": photos.classes}, out / "model.pt")


def predict(folder: Path, out: Path) -> None:
    import timm
    from timm.data import create_transform

    saved = torch.load(out / "model.pt")
    model: nn.Module = timm.create_model("resnet18", num_classes=len(saved["classes"]))
    model.load_state_dict(saved["weights"])
    model.eval()
    transform = create_transform(SIZE, is_training=False)
    classes = {}
    with torch.inference_mode():
        for file in sorted((folder / "held_out").iterdir()):
            scores = model(transform(load(file))[None])
            classes[file.name] = saved["classes"][int(scores.argmax())]
    (out / "predictions").write_text(json.dumps(classes))


if __name__ == "__main__":
    run(train, predict)
