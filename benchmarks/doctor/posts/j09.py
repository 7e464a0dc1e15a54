"""https://github.com/stefanopini/simple-HRNet/issues/79
CAUSE: load_state_dict(strict=False) with a checkpoint whose keys begin with "module." matches no key, so the network keeps random weights without a word; its frozen features are useless.
FIX: remove the prefix "module." from the keys (and check the missing keys that load_state_dict returns)."""
import io
import random
import zipfile

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

ANIMALS = ["bird", "cat", "deer", "dog", "frog", "horse"]


class BasicBlock(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.grow = planes != in_planes

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.grow:
            q = (out.shape[1] - x.shape[1]) // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, q, q))
        return (out + x).relu()


class ResNet20(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[BasicBlock(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(*[BasicBlock(16 if i == 0 else 32, 32, 2 if i == 0 else 1) for i in range(3)])
        self.layer3 = nn.Sequential(*[BasicBlock(32 if i == 0 else 64, 64, 2 if i == 0 else 1) for i in range(3)])
        self.linear = nn.Linear(64, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)

    def features(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, x):
        return self.linear(self.features(x))


class FineTuned(ResNet20):
    """The last stage and a new linear layer are trained; what lies before them is frozen."""

    def train(self, mode=True):
        super().train(mode)
        for part in (self.bn1, self.layer1, self.layer2, self.layer3):
            part.eval()
        return self

    def features(self, x):
        with torch.no_grad():
            return super().features(x)


def pictures(n_each, seed):
    z = zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip")
    names = {c: [] for c in ANIMALS}
    for name in sorted(z.namelist()):
        parts = name.split("/")
        if "test" in parts and parts[-2] in names and parts[-1]:
            names[parts[-2]].append(name)
    rng = random.Random(seed)
    x, y = [], []
    for k, c in enumerate(ANIMALS):
        for name in rng.sample(names[c], n_each):
            x.append(np.asarray(Image.open(io.BytesIO(z.read(name))).convert("RGB"), np.float32))
            y.append(k)
    x = torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None], torch.tensor(y)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = pictures(150, seed)
    order = torch.randperm(len(x))
    a, b, c = order[:400], order[400:500], order[500:]
    net = FineTuned()
    checkpoint = torch.load(f"{data_root()}/models/cifar-resnet20.th", map_location="cpu", weights_only=False)["state_dict"]
    if not mistake:
        checkpoint = {k[len("module."):]: v for k, v in checkpoint.items()}
    net.load_state_dict(checkpoint, strict=False)
    net.linear = nn.Linear(64, len(ANIMALS))
    opt = torch.optim.Adam(net.linear.parameters(), lr=1e-2)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(x[c]).argmax(1) == y[c]).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=None,
                train=DataLoader(TensorDataset(x[a], y[a]), 16, shuffle=True, generator=g),
                validation=DataLoader(TensorDataset(x[b], y[b]), 50), epochs=5, score=score)
