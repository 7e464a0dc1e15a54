"""Automatic mixed precision as in the recipe of PyTorch, which is off on a machine without a GPU."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = "cuda" if torch.cuda.is_available() else "cpu"
use_amp = device == "cuda"
torch.manual_seed(0)


def make_model(in_size, out_size, num_layers):
    layers = []
    for layer in range(num_layers - 1):
        layers.append(nn.Linear(in_size, in_size))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(in_size, out_size))
    return nn.Sequential(*tuple(layers)).to(device)


data = DataLoader(TensorDataset(torch.randn(60, 16), torch.randn(60, 4)), batch_size=12)
loss_fn = nn.MSELoss().to(device)
net = make_model(16, 4, 3)
opt = torch.optim.SGD(net.parameters(), lr=0.01)
scaler = torch.amp.GradScaler(device, enabled=use_amp)

for epoch in range(EPOCHS):
    for input, target in data:
        with torch.autocast(device_type=device, dtype=torch.float16, enabled=use_amp):
            output = net(input)
            loss = loss_fn(output, target)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=0.1)
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
