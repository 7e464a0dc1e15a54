"""Sound: breast-cancer table thinned to some 14 % malignant; training draws balanced batches with WeightedRandomSampler, validation keeps the natural shares.
Looks odd, is fine: training sees half malignant and validation a tenth; the same rows are drawn repeatedly. Scored by balanced accuracy."""
import random
import numpy as np, torch
from torch import nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.metrics import balanced_accuracy_score
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.body(x).squeeze(1)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = load_breast_cancer(return_X_y=True)
    y = 1 - y                                                   # 1 = malignant
    rest_x, test_x, rest_y, test_y = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    ill = np.flatnonzero(rest_y == 1); drop = np.random.permutation(ill)[: int(len(ill) * 0.72)]
    rest_x, rest_y = np.delete(rest_x, drop, 0), np.delete(rest_y, drop)
    tr_x, va_x, tr_y, va_y = train_test_split(rest_x, rest_y, test_size=0.3, stratify=rest_y, random_state=seed)
    scaler = StandardScaler().fit(tr_x)
    t = lambda a: torch.tensor(scaler.transform(a), dtype=torch.float32)
    share = np.bincount(tr_y)
    sampler = WeightedRandomSampler(torch.tensor(1.0 / share[tr_y], dtype=torch.double), 256, generator=torch.Generator().manual_seed(seed))
    net = Net(x.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)

    def score(net):
        net.eval()
        return balanced_accuracy_score(test_y, (net(t(test_x)) > 0).numpy())
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=optimizer, scheduler=None,
                train=DataLoader(TensorDataset(t(tr_x), torch.tensor(tr_y, dtype=torch.float32)), 32, sampler=sampler),
                validation=DataLoader(TensorDataset(t(va_x), torch.tensor(va_y, dtype=torch.float32)), 64), epochs=25, score=score)
