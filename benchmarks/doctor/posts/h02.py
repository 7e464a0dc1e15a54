"""https://datascience.stackexchange.com/questions/28481/reason-for-having-both-low-loss-and-same-predicted-class
CAUSE: the learning rate of SGD is far too high, the binary CNN collapses to one probability for every picture.
FIX: reduce the learning rate (by 10 to 100 times).
"""
import io, random, zipfile
import numpy as np, torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset, DataLoader
from pellucid.data import data_root

def pictures(part, names, per_class):
    xs, ys = [], []
    with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
        files = sorted(z.namelist())
        for k, name in enumerate(names):
            mine = [f for f in files if f.startswith(f"{part}/{name}/") and f.endswith(".jpg")][:per_class]
            for f in mine:
                xs.append(np.asarray(Image.open(io.BytesIO(z.read(f))).convert("RGB"))); ys.append(k)
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor(ys, dtype=torch.float32)[:, None]

def block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = pictures("train", ["automobile", "horse"], 900)
    xt, yt = pictures("test", ["automobile", "horse"], 400)
    p = torch.randperm(len(x))
    x, y = x[p], y[p]
    mean, std = x[:1500].mean((0, 2, 3), keepdim=True), x[:1500].std((0, 2, 3), keepdim=True)
    x, xt = (x - mean) / std, (xt - mean) / std
    train = DataLoader(TensorDataset(x[:1500], y[:1500]), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(TensorDataset(x[1500:], y[1500:]), batch_size=128)
    net = nn.Sequential(block(3, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5 if mistake else 0.01, momentum=0.9, weight_decay=1e-4)
    epochs = 10
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    def score(net): return ((net(xt) > 0).float() == yt).float().mean().item()
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=epochs, score=score)
