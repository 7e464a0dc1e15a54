"""A plain loop over a perceptron, which flattens the images in the loop; SGD with momentum and weight decay."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
X = torch.tensor(digits.images).to(torch.get_default_dtype()) / 16.0
y = torch.tensor(digits.target)
train_loader = DataLoader(TensorDataset(X[:300], y[:300]), batch_size=60, shuffle=True, drop_last=True)

model = nn.Sequential(nn.Linear(64, 50), nn.Sigmoid(), nn.Linear(50, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-4)

running_loss = 0.0
for epoch in range(EPOCHS):
    for i, (inputs, targets) in enumerate(train_loader):
        inputs = inputs.view(-1, 64)
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
