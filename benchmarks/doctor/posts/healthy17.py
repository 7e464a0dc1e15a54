"""Sound: an LSTM reads MNIST pictures row by row (28 steps of 28 numbers), 2,000 pictures, Adam with step decay.
Looks odd, is fine: a recurrent network on pictures, one channel dimension removed; no normalisation but the usual 0..1."""
import gzip, random
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


class RowReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.drop, self.out = nn.LSTM(28, 64, batch_first=True, bidirectional=True), nn.Dropout(0.2), nn.Linear(128, 10)

    def forward(self, x):
        h, _ = self.lstm(x)
        return self.out(self.drop(h.mean(1)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    root = f"{data_root()}/mnist/t10k-"
    x = np.frombuffer(gzip.open(root + "images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 28, 28)
    y = np.frombuffer(gzip.open(root + "labels-idx1-ubyte.gz").read(), np.uint8, offset=8).astype("int64")
    o = np.random.permutation(len(x))[:4000]; x, y = torch.tensor(x[o]).float() / 255, torch.tensor(y[o])
    net = RowReader()
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)

    def score(net):
        net.eval()
        return (net(x[2500:]).argmax(1) == y[2500:]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.3),
                train=DataLoader(TensorDataset(x[:2000], y[:2000]), 40, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[2000:2500], y[2000:2500]), 250), epochs=12, score=score)
