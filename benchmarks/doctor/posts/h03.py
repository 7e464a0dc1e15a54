"""https://runebook.dev/zh/docs/pytorch/generated/torch.nn.mseloss/torch.nn.MSELoss
CAUSE: the network gives (batch, 1), the targets are (batch,); the squared error broadcasts to (batch, batch) and the best answer is the mean.
FIX: give both the same shape (targets.unsqueeze(1) or outputs.squeeze(1)).
"""
import random, warnings
import numpy as np, torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import Dataset, DataLoader

class Patients(Dataset):
    def __init__(self, features, progression, column):
        self.features = torch.tensor(features, dtype=torch.float32)
        self.progression = torch.tensor(progression, dtype=torch.float32)
        if column: self.progression = self.progression.reshape(-1, 1)
    def __len__(self): return len(self.features)
    def __getitem__(self, i): return self.features[i], self.progression[i]

class MLP(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.hidden = nn.Linear(n, 32)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(32, 1)
    def forward(self, x): return self.out(self.drop(torch.relu(self.hidden(x))))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    warnings.filterwarnings("ignore")
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x, xt, y, yt = train_test_split(x, y, test_size=110, random_state=7)
    x, xv, y, yv = train_test_split(x, y, test_size=60, random_state=seed)
    m, s, ym, ys = x.mean(0), x.std(0), y.mean(), y.std()
    f = lambda a: (a - m) / s
    g = lambda b: (b - ym) / ys
    train = DataLoader(Patients(f(x), g(y), not mistake), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(Patients(f(xv), g(yv), not mistake), batch_size=60)
    net = MLP(x.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    def score(net):
        guess = net(torch.tensor(f(xt), dtype=torch.float32)).numpy().ravel() * ys + ym
        return 1 - ((guess - yt) ** 2).sum() / ((yt - yt.mean()) ** 2).sum()
    return dict(network=net, loss=nn.MSELoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=40, score=score)
