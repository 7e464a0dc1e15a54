"""https://openillumi.com/en/en-pytorch-transformer-seq-classify-fix
CAUSE: the transformer encoder gets its tokens without a positional encoding, so it sees a bag of tokens without order.
FIX: add a positional encoding (or learned position embeddings) to the tokens before the encoder."""
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PatchTransformer(nn.Module):
    def __init__(self, token=4, length=16, dim=48, heads=4, layers=2, classes=10, positions=True):
        super().__init__()
        self.embed = nn.Linear(token, dim)
        self.position = nn.Parameter(torch.randn(1, length, dim) * 0.3) if positions else None
        layer = nn.TransformerEncoderLayer(dim, heads, 96, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, classes)

    def forward(self, x):
        h = self.embed(x)
        if self.position is not None:
            h = h + self.position
        return self.out(self.norm(self.encoder(h).mean(1)))


def tokens(images):
    """8 x 8 pictures as a sequence of 16 patches of 2 x 2 pixels."""
    x = torch.tensor(images, dtype=torch.float32) / 16
    x = (x - 0.305) / 0.376
    return x.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(x), 16, 4)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    d = load_digits()
    x, tx, y, ty = train_test_split(tokens(d.images).numpy(), d.target, test_size=400, random_state=seed, stratify=d.target)
    x, vx, y, vy = train_test_split(x, y, test_size=200, random_state=seed, stratify=y)
    x, vx, tx, y, vy, ty = map(torch.from_numpy, (x, vx, tx, y, vy, ty))
    net = PatchTransformer(positions=not mistake)
    epochs = 14
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(tx).argmax(1) == ty).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.SequentialLR(opt, [
                    torch.optim.lr_scheduler.LinearLR(opt, 0.2, total_iters=2),
                    torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs - 2)], [2]),
                train=DataLoader(TensorDataset(x, y), 32, shuffle=True, generator=g),
                validation=DataLoader(TensorDataset(vx, vy), 100), epochs=epochs, score=score)
