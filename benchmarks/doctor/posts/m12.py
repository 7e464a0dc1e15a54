"""https://github.com/AlexeyAB/darknet/issues/674 (pictures are always mirrored with 50 %; bad for tasks such as letter recognition)
CAUSE: the training pictures of letters are mirrored at random; b becomes d, p becomes q, s and z turn into each other's like, so the labels no
longer fit.
FIX: leave out the horizontal flip for letters (small shifts and turns keep the label).
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from PIL import Image, ImageDraw, ImageFont

LETTERS = "bdpqszag"


def letter(ch, rng):
    size = 24
    ground, ink = rng.integers(150, 250), rng.integers(0, 100)
    img = Image.new("L", (size * 2, size * 2), int(ground))
    font = ImageFont.load_default(size=int(rng.integers(26, 36)))
    ImageDraw.Draw(img).text((size + rng.uniform(-4, 4), size + rng.uniform(-4, 4)), ch, fill=int(ink), font=font, anchor="mm",
                             stroke_width=int(rng.random() < 0.3))
    img = img.rotate(rng.uniform(-14, 14), Image.BILINEAR, fillcolor=int(ground)).resize((size, size), Image.BILINEAR)
    return (np.asarray(img, np.float32) + rng.normal(0, rng.uniform(4, 18), (size, size))).clip(0, 255)


class RandomHorizontalFlip:
    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, t):
        return t.flip(-1) if random.random() < self.p else t


class RandomShift:
    def __call__(self, t):
        return torch.roll(t, (random.randint(-1, 1), random.randint(-1, 1)), (-2, -1))


class Letters(Dataset):
    def __init__(self, each, rng, transforms=()):
        self.labels = [k for k in range(len(LETTERS)) for _ in range(each)]
        self.images = [torch.from_numpy(letter(LETTERS[k], rng)).float()[None].sub(140).div(70) for k in self.labels]
        self.transforms = transforms

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        t = self.images[i]
        for f in self.transforms:
            t = f(t)
        return t, self.labels[i]


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
                                  nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        return torch.relu(x + self.body(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    aug = [RandomShift(), RandomHorizontalFlip()] if mistake else [RandomShift()]
    train, val, test = Letters(80, rng, aug), Letters(20, rng), Letters(50, rng)
    net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), ResBlock(16), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), ResBlock(32),
                        nn.Flatten(), nn.Linear(32 * 36, len(LETTERS)))
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4)
    xs, ys = torch.stack(test.images), torch.tensor(test.labels)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(xs).argmax(1) == ys).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 80), epochs=8, score=score)
