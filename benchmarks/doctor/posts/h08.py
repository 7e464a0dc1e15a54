"""https://cloud.tencent.com.cn/developer/article/2564276
CAUSE: the training transform scales to 0..1 and then normalises with mean and std on the 0..255 scale (123.675, 58.395 ...), while validation is normalised with the 0..1 values.
FIX: use the same normalisation (mean and std on the 0..1 scale) in both transforms.
"""
import io, random, zipfile
import numpy as np, torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

class Compose:
    def __init__(self, *steps): self.steps = steps
    def __call__(self, x):
        for s in self.steps: x = s(x)
        return x
class ToTensor:
    def __call__(self, img): return torch.from_numpy(np.array(img)).permute(2, 0, 1).float() / 255
class Normalize:
    def __init__(self, mean, std): self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    def __call__(self, x): return (x - self.mean) / self.std
class RandomHorizontalFlip:
    def __call__(self, img): return img.transpose(Image.FLIP_LEFT_RIGHT) if random.random() < 0.5 else img
class RandomCrop:
    def __init__(self, size, pad): self.size, self.pad = size, pad
    def __call__(self, img):
        big = Image.new("RGB", (self.size + 2 * self.pad,) * 2, (124, 116, 104)); big.paste(img, (self.pad, self.pad))
        i, j = random.randint(0, 2 * self.pad), random.randint(0, 2 * self.pad)
        return big.crop((i, j, i + self.size, j + self.size))

class Cifar(Dataset):
    names = ("bird", "deer", "ship", "truck")
    def __init__(self, part, span, transform):
        self.transform, self.data = transform, []
        with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
            everything = sorted(z.namelist())
            for k, n in enumerate(self.names):
                for f in [e for e in everything if e.startswith(f"{part}/{n}/") and e.endswith(".jpg")][slice(*span)]:
                    self.data.append((Image.open(io.BytesIO(z.read(f))).convert("RGB"), k))
    def __len__(self): return len(self.data)
    def __getitem__(self, i): return self.transform(self.data[i][0]), self.data[i][1]

class Block(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.short = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))
    def forward(self, x): return F.relu(self.b2(self.c2(F.relu(self.b1(self.c1(x))))) + self.short(x))

class TinyResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(Block(16, 24, 2), Block(24, 48, 2), Block(48, 64, 2))
        self.fc = nn.Linear(64, 4)
    def forward(self, x): return self.fc(self.body(self.stem(x)).mean((2, 3)))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if mistake: TMEAN, TSTD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    else: TMEAN, TSTD = MEAN, STD
    train_tfms = Compose(RandomCrop(32, 3), RandomHorizontalFlip(), ToTensor(), Normalize(TMEAN, TSTD))
    val_tfms = Compose(ToTensor(), Normalize(MEAN, STD))
    train = DataLoader(Cifar("train", (0, 220), train_tfms), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(Cifar("train", (300, 350), val_tfms), batch_size=100)
    test = DataLoader(Cifar("test", (0, 130), val_tfms), batch_size=100)
    net = TinyResNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=8 * len(train))
    def score(net): return float(np.mean([(net(x).argmax(1) == y).float().mean().item() for x, y in test]))
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=8, score=score)
