"""https://github.com/mrdbourke/pytorch-deep-learning/issues/399
CAUSE: the optimizer was made with the parameters of another (earlier) model, so the trained one never changes.
FIX: make the optimizer from the parameters of the network that is trained.
"""
import random
import numpy as np, torch
from sklearn.datasets import make_friedman1
from torch import nn
from torch.utils.data import TensorDataset, DataLoader

class RegressionModel(nn.Module):
    def __init__(self, n, width, depth):
        super().__init__()
        sizes = [n] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.last = nn.Linear(width, 1)
    def forward(self, x):
        for h in self.hidden: x = nn.functional.gelu(h(x))
        return self.last(x)

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    X, y = make_friedman1(n_samples=1600, n_features=10, noise=1.0, random_state=seed)
    Xt, yt = make_friedman1(n_samples=500, n_features=10, noise=0.0, random_state=12345)
    mx, sx, my, sy = X[:1300].mean(0), X[:1300].std(0), y[:1300].mean(), y[:1300].std()
    X, Xt = (torch.tensor((a - mx) / sx, dtype=torch.float32) for a in (X, Xt))
    Y = torch.tensor((y - my) / sy, dtype=torch.float32)[:, None]
    train = DataLoader(TensorDataset(X[:1300], Y[:1300]), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(TensorDataset(X[1300:], Y[1300:]), batch_size=300)
    model_0 = RegressionModel(10, 16, 1)      # first try
    model_1 = RegressionModel(10, 48, 2)
    model = model_0 if mistake else model_1
    optimizer = torch.optim.SGD(params=model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=4)
    def score(net):
        guess = net(Xt).numpy().ravel() * sy + my
        return 1 - ((guess - yt) ** 2).mean() / yt.var()
    return dict(network=model_1, loss=nn.MSELoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=25, score=score)
