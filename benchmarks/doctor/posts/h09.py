"""https://discuss.pytorch.org/t/predictions-stuck-at-zero-when-positive-label-1-is-only-16-of-data/145203
CAUSE: the outputs pass a sigmoid before BCEWithLogitsLoss, which applies the sigmoid itself; with rare labels the predictions stay at zero.
FIX: give raw logits to BCEWithLogitsLoss (no sigmoid in the network).
"""
import gzip, random
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

D = f"{data_root()}/mnist/"

class Plates(Dataset):
    """A plate shows two handwritten digits; ten labels say which digits are on it."""
    def __init__(self, prefix, start, digits, plates, rng):
        stop = start + digits
        with gzip.open(D + prefix + "-images-idx3-ubyte.gz") as f: x = np.frombuffer(f.read(16 + stop * 784)[16:], np.uint8).reshape(-1, 28, 28)[start:]
        with gzip.open(D + prefix + "-labels-idx1-ubyte.gz") as f: y = np.frombuffer(f.read(8 + stop)[8:], np.uint8)[start:]
        self.plates, self.tags = np.zeros((plates, 1, 32, 56), np.float32), np.zeros((plates, 10), np.float32)
        for n in range(plates):
            for k, left in enumerate((0, 28)):
                i, top = rng.integers(digits), rng.integers(0, 5)
                self.plates[n, 0, top:top + 28, left:left + 28] = x[i] / 255.0
                self.tags[n, y[i]] = 1
    def __len__(self): return len(self.plates)
    def __getitem__(self, n): return (torch.from_numpy(self.plates[n]) - 0.115) / 0.29, torch.from_numpy(self.tags[n])

class Tagger(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 12, 5, stride=2, padding=2), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU(), nn.MaxPool2d((4, 2)))
        self.head = nn.Linear(40 * 2 * 7, 10)
        self.activation = activation
    def forward(self, x): return self.activation(self.head(self.conv(x).flatten(1)))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    rng = np.random.default_rng(seed)
    a, b = Plates("train", 0, 3000, 1800, rng), Plates("train", 3000, 600, 300, rng)
    c = Plates("t10k", 0, 1500, 600, np.random.default_rng(55))
    train = DataLoader(a, batch_size=50, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(b, batch_size=100)
    net = Tagger(nn.Sigmoid() if mistake else nn.Identity())
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.3)
    limit = 0.5 if mistake else 0.0
    def score(net):
        hit = wrong = 0.0
        for x, y in DataLoader(c, batch_size=200):
            p = (net(x) > limit).float()
            hit += (p * y).sum().item(); wrong += (p - y).abs().sum().item()
        return 2 * hit / (2 * hit + wrong)
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=8, score=score)
