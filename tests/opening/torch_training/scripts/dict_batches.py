"""Several labels of an image from a Dataset of dicts, NAdam, CosineAnnealingWarmRestarts, train_one_epoch."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class MultiLabel(Dataset):
    def __init__(self, n):
        self.images = torch.rand(n, 3, 8, 8)
        self.labels = torch.stack([self.images[:, c].mean((1, 2)) > 0.5 for c in range(3)], 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        return {"image": self.images[idx], "label": self.labels[idx].to(self.images.dtype)}


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    for batch in loader:
        logits = model(batch["image"])
        loss = criterion(logits, batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


torch.manual_seed(5)
loader = DataLoader(MultiLabel(48), batch_size=12, shuffle=True)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
)
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.NAdam(model.parameters(), lr=5e-3, weight_decay=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)

for epoch in range(EPOCHS):
    train_one_epoch(model, loader, criterion, optimizer)
    scheduler.step()
