"""Sound: a denoising autoencoder on MNIST: the inputs carry fresh noise in training, fixed noise in validation; targets are the clean pictures in 0..1; sigmoid output, mean squared error.
Looks odd, is fine: input and target differ, the loss is a few hundredths, code of 32 numbers. Score: 1 - error / variance."""
import gzip, random
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from pellucid.data import data_root


class Noisy(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + 0.3 * torch.randn_like(self.x[i]), self.x[i]


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x = np.frombuffer(gzip.open(f"{data_root()}/mnist/t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    x = torch.tensor(x[np.random.permutation(len(x))[:3600]]).float() / 255
    va, te = x[2500:3000], x[3000:]
    va_in, te_in = va + 0.3 * torch.randn_like(va), te + 0.3 * torch.randn_like(te)
    net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 32),
                        nn.Linear(32, 32 * 49), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    epochs = 12

    def score(net):
        net.eval()
        return 1 - ((net(te_in) - te) ** 2).mean() / ((te - x[:2500].mean(0)) ** 2).mean()
    return dict(network=net, loss=nn.MSELoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(Noisy(x[:2500]), 50, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(va_in, va), 250), epochs=epochs, score=score)
