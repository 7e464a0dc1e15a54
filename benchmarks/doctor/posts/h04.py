"""https://openillumi.com/en/en-pytorch-performance-fix-standardization
CAUSE: the columns of the table have very different, large values and are fed as they are; the sigmoid units saturate.
FIX: standardise every column with the mean and standard deviation of the training rows.
"""
import random
import numpy as np, torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import TensorDataset, DataLoader

class Model(nn.Module):
    def __init__(self, input_size, H1, output_size):
        super().__init__()
        self.linear = nn.Linear(input_size, H1)
        self.linear2 = nn.Linear(H1, output_size)
    def forward(self, x):
        x = torch.sigmoid(self.linear(x))
        return torch.sigmoid(self.linear2(x))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = load_breast_cancer(return_X_y=True)
    x, xt, y, yt = train_test_split(x, y, test_size=150, random_state=1, stratify=y)
    x, xv, y, yv = train_test_split(x, y, test_size=80, random_state=seed, stratify=y)
    if not mistake:
        scaler = StandardScaler().fit(x)
        x, xv, xt = scaler.transform(x), scaler.transform(xv), scaler.transform(xt)
    t = lambda a: torch.tensor(a, dtype=torch.float32)
    train = DataLoader(TensorDataset(t(x), t(y)[:, None]), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(TensorDataset(t(xv), t(yv)[:, None]), batch_size=80)
    net = Model(30, 16, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    def score(net): return ((net(t(xt))[:, 0] > 0.5).numpy() == yt).mean()
    return dict(network=net, loss=nn.BCELoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=30, score=score)
