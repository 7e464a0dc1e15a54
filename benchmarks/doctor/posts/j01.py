"""https://cloud.tencent.com.cn/developer/article/2564276
CAUSE: the mean and standard deviation of Normalize are on the scale 0 to 255, but the pictures have been scaled to 0 to 1 before, so a pretrained network sees an almost constant picture.
FIX: use the mean and standard deviation on the scale 0 to 1 (0.485, 0.456, 0.406; 0.229, 0.224, 0.225)."""
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}")


class Block(nn.Module):
    def __init__(self, inp, out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.pad = (out - inp) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return torch.relu(x + y)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32), Block(32, 32))

    def forward(self, x):
        return self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))


class SignNet(nn.Module):
    """Frozen features of a ResNet-20, and a new head."""

    def __init__(self, classes):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 16, classes))
        for p in self.backbone.parameters():
            p.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.backbone(x)
        return self.head(f)


class ToTensor:
    def __call__(self, image):
        return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1) / 255


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def __call__(self, x):
        return (x - self.mean) / self.std


class Signs(Dataset):
    def __init__(self, files, transform):
        self.images = [Image.open(f).convert("RGB").resize((32, 32), Image.BILINEAR) for f in files]
        self.labels = [int(f.parent.name) for f in files]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = self.images[i]
        for t in self.transform:
            x = t(x)
        return x, self.labels[i]


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    if mistake:
        mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    else:
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    transform = [ToTensor(), Normalize(mean, std)]
    files = sorted((ROOT / "signs/train").glob("*/*.*"))
    random.shuffle(files)
    train, val = Signs(files[:600], transform), Signs(files[600:750], transform)
    test = Signs(sorted((ROOT / "signs/val").glob("*/*.*")), transform)
    model = SignNet(10)
    state = torch.load(ROOT / "models/cifar-resnet20.th", map_location="cpu", weights_only=False)["state_dict"]
    state = {k.replace("module.", ""): v for k, v in state.items()}
    model.backbone.load_state_dict({k: state[k] for k in model.backbone.state_dict() if k in state})
    g = torch.Generator().manual_seed(seed)

    def accuracy(net):
        net.eval()
        return np.mean([float((net(x).argmax(1) == y).float().mean()) * len(y) for x, y in DataLoader(test, 103)]) / 103

    optimizer = torch.optim.Adam(model.head.parameters(), lr=3e-3)
    epochs = 7
    return dict(network=model, loss=nn.CrossEntropyLoss(), optimizer=optimizer,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(train, 32, shuffle=True, generator=g), validation=DataLoader(val, 64), epochs=epochs, score=accuracy)
