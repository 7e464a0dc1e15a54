"""https://github.com/pytorch/pytorch/issues/1538 (digits read row by row by an LSTM, with and without batch_first)
CAUSE: the loader gives (batch, rows, features), but the LSTM is made without batch_first=True: it runs along the batch and takes the
other examples as the earlier steps, and out[:, -1] sees the last row of each digit only.
FIX: nn.LSTM(..., batch_first=True) (or transpose the input to (rows, batch, features)).
"""
import random
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Rnn(nn.Module):
    def __init__(self, in_dim, hidden_dim, n_layer, n_class, **kw):
        super().__init__()
        self.lstm = nn.LSTM(in_dim, hidden_dim, n_layer, **kw)
        self.classifier = nn.Linear(hidden_dim, n_class)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.classifier(out[:, -1, :])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    d = load_digits()
    order = np.random.default_rng(seed).permutation(len(d.target))
    x = torch.from_numpy(d.images[order].astype(np.float32) / 8 - 1)      # 8 rows of 8 values
    y = torch.from_numpy(d.target[order])
    parts = [TensorDataset(x[a:b], y[a:b]) for a, b in ((0, 1200), (1200, 1400), (1400, 1797))]
    kw = {} if mistake else {"batch_first": True}
    net = Rnn(8, 48, 1, 10, **kw)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    xs, ys = parts[2].tensors

    def score(network):
        network.eval()
        with torch.no_grad():
            return (torch.cat([network(b) for b in xs.split(50)]).argmax(1) == ys).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [8, 11], 0.2),
                train=DataLoader(parts[0], 50, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(parts[1], 50), epochs=13, score=score)
