"""Sound: 200 scikit-learn digits and a plain MLP; training is right to the last picture after some epochs, validation stays near 0.9 without getting worse.
Looks odd, is fine: the training loss is near zero and the gap lasts from early on; with 200 pictures that is what the data give. Constant rate, no schedule."""
import random
import numpy as np, torch
from torch import nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x / 16, dtype=torch.float32); y = torch.tensor(y)
    tr, rest = train_test_split(np.arange(len(y)), train_size=200, stratify=y, random_state=seed)
    va, te = train_test_split(rest, train_size=200, stratify=y[rest], random_state=seed)
    net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def score(net):
        net.eval()
        return (net(x[te]).argmax(1) == y[te]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None,
                train=DataLoader(TensorDataset(x[tr], y[tr]), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[va], y[va]), 100), epochs=40, score=score)
