"""https://www.51tsys.com/article/17570.html
CAUSE: nn.LSTM expects (length, batch, features) unless batch_first=True; the batches are (batch, length, features), so the LSTM runs along the examples of the batch instead of along time.
FIX: nn.LSTM(..., batch_first=True)."""
import gzip
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = f"{data_root()}/mnist/"


def idx(name, offset):
    return np.frombuffer(gzip.open(ROOT + name).read(), np.uint8, offset=offset)


class Rows(Dataset):
    """A digit as a sequence of 28 rows, read from the top."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i].astype(np.float32)) / 255
        return (x - 0.1307) / 0.3081, int(self.labels[i])


class RowLSTM(nn.Module):
    def __init__(self, features, hidden, classes, **options):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=1, **options)
        self.fc = nn.Sequential(nn.Linear(hidden, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x):
        out, (h, c) = self.lstm(x)
        return self.fc(out[:, -1, :])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    images, labels = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("t10k-labels-idx1-ubyte.gz", 8)
    order = np.random.permutation(len(images))
    a, b, c = order[:2500], order[2500:3000], order[3000:4000]
    train, val, test = (Rows(images[i], labels[i]) for i in (a, b, c))
    options = {} if mistake else {"batch_first": True}
    net = RowLSTM(28, 96, 10, **options)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return sum(int((net(x).argmax(1) == y).sum()) for x, y in DataLoader(test, 50)) / len(test)

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 4, 0.3),
                train=DataLoader(train, 50, shuffle=True, generator=g), validation=DataLoader(val, 50), epochs=7, score=score)
