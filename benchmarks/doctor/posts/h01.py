"""https://devgem.io/posts/understanding-crossentropyloss-and-softmax-in-pytorch
CAUSE: the network ends in Softmax and is trained with CrossEntropyLoss, which applies log-softmax itself; gradients are squashed.
FIX: return the raw scores (remove the Softmax from forward) or use log_softmax with NLLLoss.
"""
import gzip, random
import numpy as np, torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

ROOT = f"{data_root()}/mnist/"

def read(images, labels, n):
    with gzip.open(ROOT + images) as f: x = np.frombuffer(f.read(16 + n * 784)[16:], np.uint8).reshape(n, 28, 28)
    with gzip.open(ROOT + labels) as f: y = np.frombuffer(f.read(8 + n)[8:], np.uint8)
    return x, y.astype(np.int64)

class MnistDataset(Dataset):
    def __init__(self, x, y): self.x, self.y = x, y
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        img = torch.from_numpy(self.x[i].astype(np.float32) / 255.0)[None]
        return (img - 0.1307) / 0.3081, int(self.y[i])

class Net(nn.Module):
    def __init__(self, probabilities):
        super().__init__()
        self.probabilities = probabilities
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)
    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        x = self.fc2(x)
        return F.softmax(x, dim=1) if self.probabilities else x

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = read("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", 2900)
    xt, yt = read("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", 1500)
    order = np.random.permutation(2900)
    tr, va = order[:2500], order[2500:]
    train = DataLoader(MnistDataset(x[tr], y[tr]), batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(MnistDataset(x[va], y[va]), batch_size=200)
    test = DataLoader(MnistDataset(xt, yt), batch_size=500)
    net = Net(probabilities=mistake)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    def score(net):
        return sum((net(a).argmax(1) == b).sum().item() for a, b in test) / len(yt)
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=8, score=score)
