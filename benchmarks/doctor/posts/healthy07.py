"""Sound: fine-tuning with two rates: a CNN pretrained (here, two seconds) on MNIST, its head replaced, tuned on 120 scikit-learn digits enlarged to 28x28.
Looks odd, is fine: body rate a tenth of the head's, warm-up from a tenth, only 120 pictures, validation larger than training."""
import gzip, random
import numpy as np, torch
from torch import nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
                                  nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        return self.head(self.body(x))


def pretrained():
    root = f"{data_root()}/mnist/t10k-"
    x = np.frombuffer(gzip.open(root + "images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:4000]
    y = np.frombuffer(gzip.open(root + "labels-idx1-ubyte.gz").read(), np.uint8, offset=8)[:4000]
    x, y = (torch.tensor(x).float() / 255 - 0.1307) / 0.3081, torch.tensor(y.astype("int64"))
    net = Net(); opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(3):
        for part in torch.randperm(len(x)).split(64):
            opt.zero_grad(); F.cross_entropy(net(x[part]), y[part]).backward(); opt.step()
    opt.zero_grad(set_to_none=True)
    return net


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    net = pretrained(); net.head = nn.Linear(256, 10)
    x, y = load_digits(return_X_y=True)
    x = F.interpolate(torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), size=(20, 20), mode="bilinear")
    x = (F.pad(x, (4, 4, 4, 4)) - 0.1307) / 0.3081; y = torch.tensor(y)
    tr, rest = train_test_split(np.arange(len(y)), train_size=120, stratify=y, random_state=seed)
    va, te = train_test_split(rest, train_size=300, stratify=y[rest], random_state=seed)
    optimizer = torch.optim.AdamW([{"params": net.body.parameters(), "lr": 4e-4}, {"params": net.head.parameters(), "lr": 4e-3}], weight_decay=0.01)
    epochs = 30
    factor = lambda e: (e + 1) / 4 if e < 3 else 0.5 * (1 + np.cos(np.pi * (e - 3) / (epochs - 3)))

    def score(net):
        net.eval()
        return (net(x[te]).argmax(1) == y[te]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
                train=DataLoader(TensorDataset(x[tr], y[tr]), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[va], y[va]), 150), epochs=epochs, score=score)
