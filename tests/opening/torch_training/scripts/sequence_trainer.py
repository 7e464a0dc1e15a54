"""An LSTM over sequences in a Trainer class with `fit` and a history, as in Keras; AMSGrad and LinearLR by batch."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SequenceClassifier(nn.Module):
    def __init__(self, features=5, hidden=12, classes=3):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


class Trainer:
    def __init__(self, model, loss, optimizer, scheduler):
        self.model, self.loss, self.optimizer, self.scheduler = model, loss, optimizer, scheduler
        self.history = {"loss": []}

    def train_step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def fit(self, loader, epochs):
        self.model.train()
        for _ in range(epochs):
            losses = [self.train_step(x, y) for x, y in loader]
            self.history["loss"].append(sum(losses) / len(losses))
        return self.history


torch.manual_seed(9)
loader = DataLoader(TensorDataset(torch.randn(40, 7, 5), torch.randint(3, (40,))), batch_size=10, shuffle=True)
net = SequenceClassifier()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=30)
trainer = Trainer(net, loss_fn, optimizer, scheduler)

history = trainer.fit(loader, epochs=EPOCHS)
