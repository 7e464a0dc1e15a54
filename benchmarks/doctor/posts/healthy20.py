"""Sound: crowd labels: 20 % of the labels of training and validation are wrong at random (MNIST, 2,500 pictures); a small network, label smoothing, strong dropout, few epochs, so that it does not learn the errors.
Looks odd, is fine: neither part gets above 0.8 accuracy and the loss stays near 1.2; on clean labels (score) it is good."""
import gzip, random
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    root = f"{data_root()}/mnist/t10k-"
    x = np.frombuffer(gzip.open(root + "images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    y = np.frombuffer(gzip.open(root + "labels-idx1-ubyte.gz").read(), np.uint8, offset=8).astype("int64")
    o = np.random.permutation(len(x))[:4500]
    x, clean = (torch.tensor(x[o]).float() / 255 - 0.1307) / 0.3081, torch.tensor(y[o])
    wrong = torch.rand(len(clean)) < 0.2
    crowd = torch.where(wrong, (clean + torch.randint(1, 10, clean.shape)) % 10, clean)
    net = nn.Sequential(nn.Conv2d(1, 12, 5, 2, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
                        nn.Conv2d(24, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.4), nn.Linear(192, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    epochs = 9

    def score(net):
        net.eval()
        return (net(x[3000:]).argmax(1) == clean[3000:]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(label_smoothing=0.1), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(TensorDataset(x[:2500], crowd[:2500]), 50, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[2500:3000], crowd[2500:3000]), 250), epochs=epochs, score=score)
