"""https://github.com/shayneobrien/coreference-resolution/issues/22 (gamma of the scheduler too small: the learning rate is cut abruptly)
CAUSE: StepLR with step_size=1 and the default gamma=0.1 divides the learning rate by ten after every epoch; after three epochs nothing
is learnt any more.
FIX: a gamma near 1 for a step each epoch (0.9), or a large step_size.
"""
import gzip, random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


def mnist(part, start, n):
    root = f"{data_root()}/mnist/" + part
    with gzip.open(root + "-images-idx3-ubyte.gz") as f:
        f.read(16 + 784 * start); x = np.frombuffer(f.read(784 * n), np.uint8).reshape(n, 28, 28)
    with gzip.open(root + "-labels-idx1-ubyte.gz") as f:
        f.read(8 + start); y = np.frombuffer(f.read(n), np.uint8)
    x = torch.from_numpy(x.copy()).float().div(255)
    x = nn.functional.avg_pool2d(x[:, None], 2)[:, 0]                       # 14 columns of 14 values
    return TensorDataset((x.transpose(1, 2) - 0.13) / 0.27, torch.from_numpy(y.copy()).long())


class ColumnGRU(nn.Module):
    """Reads a digit column by column in both directions."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(14, 32, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        _, h = self.gru(x)
        return self.fc(torch.cat([h[0], h[1]], 1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    train, val, test = mnist("train", 3000 * seed, 1400), mnist("train", 3000 * seed + 1500, 300), mnist("t10k", 0, 1500)
    net = ColumnGRU()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=1) if mistake else torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.85)
    x, y = test.tensors

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(x).argmax(1) == y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=sched,
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 100), epochs=10, score=score)
