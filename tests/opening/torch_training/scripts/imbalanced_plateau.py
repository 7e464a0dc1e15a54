"""Class weights for imbalanced classes, and ReduceLROnPlateau on the validation loss."""

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
rng = np.random.default_rng(7)
labels = (rng.random(120) < 0.15).astype(np.int64)
features = rng.normal(size=(120, 12)) + 0.5 * labels[:, None]
X, y = torch.as_tensor(features, dtype=torch.get_default_dtype()), torch.as_tensor(labels)
X_train, y_train, X_val, y_val = X[:96], y[:96], X[96:], y[96:]
class_counts = torch.bincount(y_train)
class_weights = len(y_train) / (2.0 * class_counts)

train_loader = DataLoader(TensorDataset(X_train, y_train), batch_size=24, shuffle=True)
val_loader = DataLoader(TensorDataset(X_val, y_val), batch_size=24)
model = nn.Sequential(nn.Linear(12, 24), nn.LeakyReLU(0.1), nn.Linear(24, 2))
criterion = nn.CrossEntropyLoss(weight=class_weights)
optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=0)

for epoch in range(EPOCHS):
    model.train()
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    val_loss = 0.0
    with torch.no_grad():
        for xb, yb in val_loader:
            val_loss += criterion(model(xb), yb).item()
    val_loss /= len(val_loader)
    scheduler.step(val_loss)
