"""A module class and a trainer in the style of PyTorch Lightning."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class RandomImages(Dataset):
    def __init__(self, count, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.rand(count, 1, 10, 10, generator=g)
        self.y = (self.x.mean((1, 2, 3)) * 100).long() % 3

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class LitClassifier(nn.Module):
    def __init__(self, lr=0.01):
        super().__init__()
        self.lr = lr
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.SiLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(6 * 16, 3)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
        return [optimizer], [scheduler]


class Trainer:
    def __init__(self, max_epochs, gradient_clip_val=None):
        self.max_epochs = max_epochs
        self.gradient_clip_val = gradient_clip_val

    def fit(self, module, train_dataloader, val_dataloader, optimizers, schedulers):
        for _ in range(self.max_epochs):
            module.train()
            for batch_idx, batch in enumerate(train_dataloader):
                loss = module.training_step(batch, batch_idx)
                optimizers[0].zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), self.gradient_clip_val)
                optimizers[0].step()
            module.eval()
            with torch.no_grad():
                for batch_idx, batch in enumerate(val_dataloader):
                    module.validation_step(batch, batch_idx)
            schedulers[0].step()


torch.manual_seed(42)
train_dl = DataLoader(RandomImages(60, 0), batch_size=12, shuffle=True)
val_dl = DataLoader(RandomImages(24, 1), batch_size=12)
model = LitClassifier()
optimizers, schedulers = model.configure_optimizers()
trainer = Trainer(max_epochs=EPOCHS, gradient_clip_val=1.0)

trainer.fit(model, train_dl, val_dl, optimizers, schedulers)
