"""Sound: scikit-learn digits with rare classes (some digits thinned to a tenth), class-weighted cross entropy on a small BatchNorm CNN.
Looks odd, is fine: class counts differ tenfold in training and the validation part keeps the natural imbalance; the weights (square root of inverse frequency) answer it."""
import random
import numpy as np, torch
from torch import nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.metrics import balanced_accuracy_score
from torch.utils.data import DataLoader, TensorDataset


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype("float32").reshape(-1, 1, 8, 8)
    rest_x, test_x, rest_y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    share = np.array([1, .35, 1, .2, 1, .6, 1, .15, .4, .25])
    keep = np.random.rand(len(rest_y)) < share[rest_y]
    rest_x, rest_y = rest_x[keep], rest_y[keep]
    tr_x, va_x, tr_y, va_y = train_test_split(rest_x, rest_y, test_size=0.25, stratify=rest_y, random_state=seed)
    mean, std = tr_x.mean(), tr_x.std()
    as_set = lambda a, b: TensorDataset(torch.tensor((a - mean) / std), torch.tensor(b))
    count = np.bincount(tr_y, minlength=10)
    weight = torch.tensor(np.sqrt(count.mean() / count), dtype=torch.float32)
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-5)
    epochs = 15

    def score(net):
        net.eval()
        return balanced_accuracy_score(test_y, net(torch.tensor((test_x - mean) / std)).argmax(1).numpy())
    return dict(network=net, loss=nn.CrossEntropyLoss(weight=weight), optimizer=optimizer,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(as_set(tr_x, tr_y), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(as_set(va_x, va_y), 128), epochs=epochs, score=score)
