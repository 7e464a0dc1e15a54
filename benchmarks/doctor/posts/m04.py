"""https://github.com/BestJuly/IIC/issues/11 (strict=False hid that no key of the checkpoint fitted; same: simple-HRNet 79)
CAUSE: the keys of the checkpoint begin with "module." (it was saved from DataParallel), load_state_dict(strict=False) therefore loads
nothing, and the frozen "pretrained" network has random weights.
FIX: take "module." off the keys and load strictly (or look at the missing and unexpected keys that load_state_dict returns).
"""
import io, random, zipfile
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from PIL import Image
from pellucid.data import data_root

CHECKPOINT = f"{data_root()}/models/cifar-resnet20.th"
CLASSES = ["bird", "cat", "deer", "dog", "horse"]
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False); self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False); self.bn2 = nn.BatchNorm2d(cout)
        self.stride, self.pad = stride, (cout - cin) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.pad:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False); self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[BasicBlock(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), *[BasicBlock(32, 32, 1) for _ in range(2)])
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), *[BasicBlock(64, 64, 1) for _ in range(2)])
        self.linear = nn.Linear(64, classes)

    def features(self, x):
        return self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))).mean((2, 3))

    def forward(self, x):
        return self.linear(self.features(x))


class FrozenClassifier(nn.Module):
    """Pretrained body without gradients, new head."""

    def __init__(self, body, classes):
        super().__init__()
        self.body = body.requires_grad_(False)
        self.head = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, classes))

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.body.features(x)
        return self.head(f)


class ZipPictures(Dataset):
    def __init__(self, split, start, count):
        self.items = []
        with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
            names = sorted(n for n in z.namelist() if n.startswith(split + "/") and n.endswith(".jpg"))
            for k, c in enumerate(CLASSES):
                for n in [n for n in names if n.split("/")[1] == c][start:start + count]:
                    arr = np.array(Image.open(io.BytesIO(z.read(n))).convert("RGB"))
                    self.items.append((torch.from_numpy(arr).permute(2, 0, 1), k))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        img, k = self.items[i]
        return (img.float() / 255 - MEAN) / STD, k


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    body = ResNet20()
    state = torch.load(CHECKPOINT, map_location="cpu")["state_dict"]
    if mistake:
        body.load_state_dict(state, strict=False)
    else:
        body.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    net = FrozenClassifier(body, len(CLASSES))
    # pictures of the test part: the pretrained network has not seen them
    train, val, test = ZipPictures("test", 100 * seed, 60), ZipPictures("test", 300 + 20 * seed, 20), ZipPictures("test", 600 + 60 * seed, 50)
    opt = torch.optim.Adam(net.head.parameters(), lr=1e-2)
    x = torch.stack([test[i][0] for i in range(len(test))]); y = torch.tensor([k for _, k in test.items])

    def score(network):
        network.eval()
        with torch.no_grad():
            return (torch.cat([network(b) for b in x.split(50)]).argmax(1) == y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=None,
                train=DataLoader(train, 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=5, score=score)
