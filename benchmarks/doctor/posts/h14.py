"""https://github.com/UofT-DSI/deep_learning/issues/89
CAUSE: the preprocessing of the pretrained network expects pixels of 0..255, but gets pictures already scaled to 0..1, so all pictures look the same to the frozen backbone.
FIX: give the preprocessing the range it expects (multiply by 255, or leave out the second division).
"""
import glob, random
import numpy as np, torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

class BasicBlock(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.pad = o - i
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad: x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad // 2, self.pad // 2))
        return F.relu(x + y)

class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        stage = lambda i, o, s: nn.Sequential(BasicBlock(i, o, s), BasicBlock(o, o, 1), BasicBlock(o, o, 1))
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)
    def forward(self, x):
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return x

class Transfer(nn.Module):
    """Two stages of the CIFAR network, frozen, and a new head."""
    def __init__(self, n):
        super().__init__()
        self.backbone = ResNet20()
        state = torch.load(f"{data_root()}/models/cifar-resnet20.th", map_location="cpu", weights_only=True)["state_dict"]
        self.backbone.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
        for p in self.backbone.parameters(): p.requires_grad_(False)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 16, n))
    def train(self, mode=True):
        super().train(mode); self.backbone.eval()
        return self
    def forward(self, x):
        with torch.no_grad(): x = self.backbone(x)
        return self.head(x)

def preprocess_input(x):
    """x: pixels 0..255, channels first"""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x / 255 - mean[:, None, None]) / std[:, None, None]

class Hands(Dataset):
    def __init__(self, part, first, last, scale):
        self.scale, self.list = scale, []
        for c in range(5):
            for f in sorted(glob.glob(f"{data_root()}/signs/{part}/{c}/*"))[first:last]:
                self.list.append((np.asarray(Image.open(f).convert("RGB").resize((32, 32), Image.BILINEAR)), c))
    def __len__(self): return len(self.list)
    def __getitem__(self, i):
        img, c = self.list[i]
        return preprocess_input(torch.from_numpy(img.astype(np.float32) * self.scale).permute(2, 0, 1)), c

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    scale = np.float32(1 / 255 if mistake else 1)      # skimage's resize gives 0..1
    train = DataLoader(Hands("train", 0, 70, scale), batch_size=25, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(Hands("train", 80, 95, scale), batch_size=50)
    test = DataLoader(Hands("val", 0, 30, scale), batch_size=50)
    net = Transfer(5)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=5e-3)
    def score(net):
        r = [(net(x).argmax(1) == y).float() for x, y in test]
        return torch.cat(r).mean().item()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=6, score=score)
