"""https://errorhandle.ai/multilabel-classification-converges-to-all-zeroes
CAUSE: a task with several labels per row is trained with (softmax) cross-entropy; the outputs compete and only one label can become likely.
FIX: nn.BCEWithLogitsLoss, one sigmoid per label.
"""
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


ATTRIBUTES = {"even": {0, 2, 4, 6, 8}, "prime": {2, 3, 5, 7}, "at least five": {5, 6, 7, 8, 9}, "closed loop": {0, 6, 8, 9},
              "multiple of three": {0, 3, 6, 9}}


class Tagger(nn.Module):
    def __init__(self, pixels, tags):
        super().__init__()
        self.hidden = nn.Linear(pixels, 96)
        self.drop = nn.Dropout(0.1)
        self.tags = nn.Linear(96, tags)

    def forward(self, x):
        return self.tags(self.drop(torch.relu(self.hidden(x))))


class TagLoss(nn.Module):
    """Cross-entropy between the digit's attributes and the prediction."""

    def forward(self, outputs, tags):
        return -(tags * F.log_softmax(outputs, dim=1)).sum(1).mean()


def tags_of(net, x):
    return (torch.sigmoid(net(x)) > 0.5).float()


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, digit = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32) / 8 - 1
    y = torch.tensor([[float(d in group) for group in ATTRIBUTES.values()] for d in digit])
    mixed = torch.tensor(np.random.RandomState(6).permutation(len(x)))
    x, y = x[mixed], y[mixed]
    xt, yt = x[1400:], y[1400:]
    order = torch.randperm(1400)
    tr, va = order[:1200], order[1200:]
    model = Tagger(64, len(ATTRIBUTES))

    def all_right(net):
        return (tags_of(net, xt) == yt).all(1).float().mean()

    return {"network": model, "loss": TagLoss() if mistake else nn.BCEWithLogitsLoss(),
            "optimizer": torch.optim.RMSprop(model.parameters(), lr=2e-3), "scheduler": None,
            "train": DataLoader(TensorDataset(x[tr], y[tr]), batch_size=40, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(TensorDataset(x[va], y[va]), batch_size=100), "epochs": 25, "score": all_right}
