"""https://ai.stackexchange.com/questions/16557/what-could-be-the-problem-when-a-neural-network-with-four-hidden-layers-with-the
CAUSE: four hidden layers with sigmoid activations: the gradient vanishes on the way to the first layers, the network stays at the mean.
FIX: ReLU (or similar) in the hidden layers.
"""
import random
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset, DataLoader

class BinaryVectors(Dataset):
    """24 switches and the measured response of the plant (real-valued, standardised)."""
    def __init__(self, n, seed, noise):
        wiring = np.random.default_rng(77)
        w, pairs = wiring.normal(0, 1, 24), wiring.choice(24, (10, 2))
        strength = wiring.normal(0, 1.2, 10)
        rng = np.random.default_rng(seed)
        self.bits = rng.integers(0, 2, (n, 24)).astype(np.float32)
        s = 2 * self.bits - 1
        y = s @ w + sum(k * s[:, i] * s[:, j] for k, (i, j) in zip(strength, pairs))
        self.y = y / np.sqrt((w ** 2).sum() + (strength ** 2).sum()) + rng.normal(0, noise, n)
    def __len__(self): return len(self.bits)
    def __getitem__(self, i): return torch.from_numpy(2 * self.bits[i] - 1), torch.tensor([self.y[i]], dtype=torch.float32)

def network(activation, width=128, hidden=4):
    layers, i = [], 24
    for _ in range(hidden):
        layers += [nn.Linear(i, width), activation()]; i = width
    return nn.Sequential(*layers, nn.Linear(i, 1))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    a, b, c = BinaryVectors(2400, seed, 0.1), BinaryVectors(400, seed + 50, 0.1), BinaryVectors(600, 909, 0.0)
    train = DataLoader(a, batch_size=48, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(b, batch_size=200)
    net = network(nn.Sigmoid if mistake else nn.ReLU)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [12, 17], 0.2)
    def score(net):
        x, y = next(iter(DataLoader(c, batch_size=600)))
        return 1 - ((net(x) - y) ** 2).mean().item() / y.var().item()
    return dict(network=net, loss=nn.MSELoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=20, score=score)
