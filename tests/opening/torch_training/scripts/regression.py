"""Regression of one number with SmoothL1Loss, RMSprop, ExponentialLR and layer-wise learning rates."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class HousePrices(Dataset):
    def __init__(self, n):
        self.x = torch.randn(n, 8)
        self.y = self.x[:, :3].sum(1, keepdim=True) + 0.1 * torch.randn(n, 1)

    def __len__(self):
        return self.x.shape[0]

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh())
        self.output = nn.Linear(16, 1)

    def forward(self, x):
        return self.output(self.encoder(x))


torch.manual_seed(3)
dataset = HousePrices(100)
train_set, val_set = torch.utils.data.random_split(dataset, [80, 20])
dl = DataLoader(train_set, batch_size=16, shuffle=True)
val_dl = DataLoader(val_set, batch_size=20)
model = Regressor()
loss_fn = nn.SmoothL1Loss(beta=0.5)
optimizer = optim.RMSprop(
    [{"params": model.encoder.parameters(), "lr": 1e-3}, {"params": model.output.parameters()}], lr=1e-2, alpha=0.95
)
lr_sched = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)

for epoch in range(EPOCHS):
    model.train()
    for X, y in dl:
        pred = model(X)
        loss = loss_fn(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lr_sched.step()
    model.eval()
    with torch.inference_mode():
        test_loss = sum(loss_fn(model(X), y).item() for X, y in val_dl)
