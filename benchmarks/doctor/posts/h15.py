"""https://decodetrail.com/question/why-does-my-cnn-predict-only-one-class-no-matter-what-image-i-give-it
CAUSE: one class has some 95 % of the training pictures and nothing is done about it; the network says the frequent class for nearly everything.
FIX: balanced sampling (WeightedRandomSampler) or class weights.
"""
import io, random, zipfile
import numpy as np, torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, DataLoader, WeightedRandomSampler
from pellucid.data import data_root

class Birds(Dataset):
    """Does the picture show a bird (1) or a ship (0)?"""
    def __init__(self, part, ships, birds, augment):
        self.rows, self.augment = [], augment
        with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
            names = sorted(z.namelist())
            for word, label, span in (("ship", 0, ships), ("bird", 1, birds)):
                for n in [n for n in names if n.startswith(f"{part}/{word}/") and n.endswith(".jpg")][span[0]:span[1]]:
                    self.rows.append((np.asarray(Image.open(io.BytesIO(z.read(n))).convert("RGB")), label))
        self.labels = [r[1] for r in self.rows]
    def __len__(self): return len(self.rows)
    def __getitem__(self, i):
        x = self.rows[i][0]
        if self.augment:
            if np.random.rand() < 0.5: x = x[:, ::-1]
            x = np.roll(x, np.random.randint(-3, 4, 2), (0, 1))
        return torch.tensor(x.transpose(2, 0, 1) / 127.5 - 1, dtype=torch.float32), self.rows[i][1]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.b = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.c = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.n = nn.GroupNorm(4, 32)
        self.fc = nn.Linear(32 * 16, 2)
    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.fc(torch.relu(self.n(self.c(x))).flatten(1))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    a = Birds("train", (0, 1100), (0, 60), True)
    b = Birds("train", (1100, 1260), (60, 80), False)
    c = Birds("test", (0, 200), (0, 200), False)
    g = torch.Generator().manual_seed(seed)
    if mistake:
        train = DataLoader(a, batch_size=32, shuffle=True, generator=g)
    else:
        n = np.bincount(a.labels)
        train = DataLoader(a, batch_size=32, sampler=WeightedRandomSampler([1 / n[l] for l in a.labels], len(a), generator=g))
    validation = DataLoader(b, batch_size=110)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)
    def score(net):
        r = {0: [], 1: []}
        for x, y in DataLoader(c, batch_size=200):
            for p, t in zip(net(x).argmax(1).tolist(), y.tolist()): r[t].append(p == t)
        return (np.mean(r[0]) + np.mean(r[1])) / 2
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=10, score=score)
