"""https://rocuku.github.io/keras-validation-split-shuffle
CAUSE: the validation part is the last 20 % of rows that are sorted by class (as Keras' validation_split does); the last classes never appear in training.
FIX: shuffle (better: stratify) before the split.
"""
import random
import numpy as np, torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset, DataLoader

def fit_parts(x, y, validation_split):
    n = int(len(x) * (1.0 - validation_split))
    return (x[:n], y[:n]), (x[n:], y[n:])

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = load_digits(return_X_y=True)
    x, xt, y, yt = train_test_split(x, y, test_size=360, random_state=3, stratify=y)
    # one folder per digit, read one after the other
    folders = [(x[y == d], d) for d in range(10)]
    images = np.concatenate([f for f, _ in folders])
    labels = np.concatenate([np.full(len(f), d) for f, d in folders])
    if not mistake:
        p = np.random.permutation(len(images))
        images, labels = images[p], labels[p]
    (xa, ya), (xv, yv) = fit_parts(images, labels, 0.2)
    norm = lambda a: torch.tensor(a / 16.0, dtype=torch.float32).sub(0.3).div(0.38)
    train = DataLoader(TensorDataset(norm(xa), torch.tensor(ya)), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(TensorDataset(norm(xv), torch.tensor(yv)), batch_size=128)
    net = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    def score(net): return (net(norm(xt)).argmax(1).numpy() == yt).mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=20, score=score)
