"""Sound: the diabetes table; the target (progress, 25 to 346) is only divided by 100, not centred; MLP with LayerNorm, large dropout, weight decay, squared error.
Looks odd, is fine: the target has a mean of 1.5 and noise that nobody can learn; R2 near 0.4 (ridge regression: 0.44) is what linear models and forests reach here."""
import random
import numpy as np, torch
from torch import nn
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.metrics import r2_score
from torch.utils.data import DataLoader, TensorDataset


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = load_diabetes(return_X_y=True)
    y = (y / 100).astype("float32")[:, None]
    x, ex, y, ey = train_test_split(x, y, test_size=0.25, random_state=1)
    x, vx, y, vy = train_test_split(x, y, test_size=0.2, random_state=seed)
    mean, std = x.mean(0), x.std(0)
    t = lambda a: torch.tensor((a - mean) / std, dtype=torch.float32)
    net = nn.Sequential(nn.Linear(10, 48), nn.LayerNorm(48), nn.GELU(), nn.Dropout(0.4), nn.Linear(48, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.1)
    epochs = 20

    def score(net):
        net.eval()
        return r2_score(ey, net(t(ex)).numpy())
    return dict(network=net, loss=nn.MSELoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(TensorDataset(t(x), torch.tensor(y)), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(t(vx), torch.tensor(vy)), 67), epochs=epochs, score=score)
