"""https://github.com/facebookarchive/fb.resnet.torch/issues/127 (fine-tuning a pretrained network with learning rates 0.1, 0.01, 0.001)
CAUSE: the pretrained network is fine-tuned with the learning rate of a training from scratch (SGD 0.1, momentum 0.9); the first
steps wipe out the pretrained weights, and the few pictures cannot bring them back.
FIX: a learning rate 10 to 100 times smaller for the pretrained weights (0.003), with only the new head somewhat faster.
"""
import gzip, random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

ROOT = f"{data_root()}/mnist/"


def idx(name):
    with gzip.open(ROOT + name) as f:
        raw = f.read()
    return np.frombuffer(raw, np.uint8, offset=16 if "images" in name else 8)


class TinyVGG(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.neck = nn.Sequential(nn.Flatten(), nn.Linear(32 * 9, 64), nn.ReLU())
        self.classifier = nn.Linear(64, classes)

    def forward(self, x):
        return self.classifier(self.neck(self.features(x)))


def pretrain(images, labels, classes):
    net = TinyVGG(classes)
    opt = torch.optim.Adam(net.parameters(), 2e-3)
    for epoch in range(3):
        order = torch.randperm(len(images))
        for b in order.split(50):
            opt.zero_grad(); nn.functional.cross_entropy(net(images[b]), labels[b]).backward(); opt.step()
    return net


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x = torch.from_numpy(idx("train-images-idx3-ubyte.gz").reshape(-1, 1, 28, 28)[:12000].copy()).float().sub(33.3).div(78.6)
    y = torch.from_numpy(idx("train-labels-idx1-ubyte.gz")[:12000].copy()).long()
    # digits 0-5 were the old task, 6-9 are the new one with few examples
    old = (y < 6).nonzero().flatten()[:2400]
    net = pretrain(x[old], y[old], 6)
    net.classifier = nn.Linear(64, 4)
    new = (y >= 6).nonzero().flatten()
    new = new[torch.randperm(len(new))]
    tr, va, te = new[:320], new[320:440], new[440:1640]
    data = lambda i: TensorDataset(x[i], y[i] - 6)
    base = list(net.features.parameters()) + list(net.neck.parameters())
    if mistake:
        opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    else:
        opt = torch.optim.SGD([{"params": base, "lr": 0.003}, {"params": net.classifier.parameters()}], lr=0.01, momentum=0.9,
                              weight_decay=1e-4)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(x[te]).argmax(1) == y[te] - 6).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.StepLR(opt, 8, 0.2),
                train=DataLoader(data(tr), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(data(va), 60), epochs=12, score=score)
