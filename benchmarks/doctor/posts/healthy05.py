"""Sound: MNIST (1,500 pictures) with mixup in the training loader's collate function, so its targets are shares of two classes; validation has plain class numbers.
Looks odd, is fine: training loss never nears zero, training targets are floats; CrossEntropyLoss takes both forms."""
import gzip, random
import numpy as np, torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate
from pellucid.data import data_root


def mnist(kind):
    root = f"{data_root()}/mnist/"
    x = np.frombuffer(gzip.open(f"{root}{kind}-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return x, np.frombuffer(gzip.open(f"{root}{kind}-labels-idx1-ubyte.gz").read(), np.uint8, offset=8).astype("int64")


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = mnist("t10k")
    pick = np.random.permutation(len(x))[:3500]
    x = (torch.tensor(x[pick]).float() / 255 - 0.1307) / 0.3081; y = torch.tensor(y[pick])

    def mixup(items):
        a, b = default_collate(items)
        lam = np.random.beta(0.4, 0.4); other = torch.randperm(len(a)); one = F.one_hot(b, 10).float()
        return lam * a + (1 - lam) * a[other], lam * one + (1 - lam) * one[other]
    net = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.GELU(),
                        nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    epochs = 16

    def score(net):
        net.eval()
        return (net(x[2000:]).argmax(1) == y[2000:]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(TensorDataset(x[:1500], y[:1500]), 50, shuffle=True, collate_fn=mixup, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[1500:2000], y[1500:2000]), 250), epochs=epochs, score=score)
