"""https://statedai.com/how-to-handle-variable-length-sequences-padding-in-pytorch-rnn.html
CAUSE: sequences of different lengths are padded with zeros at the end, and the classifier uses the LSTM's state after the padding, where the sequence has been forgotten.
FIX: use the state at the last real element (by the lengths, or pack_padded_sequence)."""
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

CODES, LONGEST = 24, 90


class Visits(Dataset):
    """Codes of a patient's visits, 1 to 24, of different lengths; the courses of four diseases differ in what follows what."""

    def __init__(self, n, rng, chains):
        self.x, self.y = np.zeros((n, LONGEST), np.int64), rng.integers(0, 4, n)
        for row, k in zip(self.x, self.y):
            length = int(np.clip(rng.lognormal(2.6, 0.5), 6, LONGEST)) if rng.random() > 0.03 else LONGEST
            state = rng.integers(CODES)
            for t in range(length):
                row[t] = state + 1
                state = rng.choice(CODES, p=chains[k][state])

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]), int(self.y[i])


class VisitLSTM(nn.Module):
    def __init__(self, classes, at_end):
        super().__init__()
        self.embedding = nn.Embedding(CODES + 1, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 48, batch_first=True)
        self.fc = nn.Linear(48, classes)
        self.at_end = at_end

    def forward(self, x):
        out, _ = self.lstm(self.embedding(x))
        if self.at_end:
            last = out[:, -1]
        else:
            last = out[torch.arange(len(x)), (x > 0).sum(1) - 1]
        return self.fc(last)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    shape = np.random.default_rng(100 + seed)
    chains = [shape.dirichlet(np.full(CODES, 0.25), CODES) for _ in range(4)]
    rng = np.random.default_rng(seed)
    train, val, test = Visits(1500, rng, chains), Visits(300, rng, chains), Visits(800, rng, chains)
    net = VisitLSTM(4, at_end=mistake)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(torch.from_numpy(test.x)).argmax(1) == torch.from_numpy(test.y)).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 6, 0.3),
                train=DataLoader(train, 50, shuffle=True, generator=g), validation=DataLoader(val, 100), epochs=10, score=score)
