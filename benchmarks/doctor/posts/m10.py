"""https://github.com/deepset-ai/FARM/issues/229 (regression of texts: logits squeezed to (32,), labels of shape (32, 1))
CAUSE: the outputs have the shape (N,), the targets (N, 1); MSELoss broadcasts both to (N, N) and compares every output with every
target, so the best the network can do is the mean.
FIX: the same shape for both (targets.squeeze(1), or no squeeze in the network).
"""
import random, warnings
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

warnings.filterwarnings("ignore", message="Using a target size")
VOCAB, LENGTH = 120, 16


class Reviews(Dataset):
    """Token codes and a grade: the words have values, a word after "not" counts the other way."""

    def __init__(self, n, rng, value, grades):
        weights = 1 / (np.arange(VOCAB) + 12); weights /= weights.sum()
        self.x = rng.choice(VOCAB, (n, LENGTH), p=weights)
        sign = np.ones((n, LENGTH)); sign[:, 1:][self.x[:, :-1] < 8] = -1          # 0-7: words like "not"
        raw = (value[self.x] * sign).sum(1) / 4 + rng.normal(0, 0.15, n)
        self.y = torch.tensor(raw, dtype=torch.float32)[:, None] if grades == "column" else torch.tensor(raw, dtype=torch.float32)
        self.x = torch.from_numpy(self.x)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class RegressionHead(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.feed_forward = nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.feed_forward(x).squeeze(-1)


class TextModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16)
        self.conv = nn.Conv1d(16, 48, 2)
        self.head = RegressionHead(48)

    def forward(self, x):
        return self.head(torch.relu(self.conv(self.embedding(x).transpose(1, 2))).mean(-1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    value = np.where(np.arange(VOCAB) < 8, 0, rng.normal(0, 1, VOCAB))
    kind = "column" if mistake else "flat"
    train, val, test = Reviews(1600, rng, value, kind), Reviews(200, rng, value, kind), Reviews(400, rng, value, "flat")
    net = TextModel()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)

    def score(network):
        network.eval()
        with torch.no_grad():
            p = network(test.x)
        return 1 - (((p - test.y) ** 2).sum() / ((test.y - test.y.mean()) ** 2).sum()).item()

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 16),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 100), epochs=16, score=score)
