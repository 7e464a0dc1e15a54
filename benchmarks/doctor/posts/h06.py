"""https://dailydoseofds.beehiiv.com/p/why-is-it-important-to-shuffle-your
CAUSE: the training pictures lie sorted by class (folder after folder) and the loader does not shuffle, so every batch has one class.
FIX: shuffle=True in the training loader.
"""
import io, random, zipfile
import numpy as np, torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

CLASSES = ["airplane", "automobile", "frog", "horse", "ship"]

class FolderDataset(Dataset):
    """Folders train/CLASS/*.jpg of the archive."""
    def __init__(self, part, first, last, flip=False):
        self.items, self.flip = [], flip
        with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
            names = sorted(z.namelist())
            for label, c in enumerate(CLASSES):
                for f in [n for n in names if n.startswith(f"{part}/{c}/") and n.endswith("jpg")][first:last]:
                    img = Image.open(io.BytesIO(z.read(f))).convert("RGB")
                    self.items.append(((torch.from_numpy(np.array(img)).permute(2, 0, 1).float() / 255 - 0.47) / 0.25, label))
    def __len__(self): return len(self.items)
    def __getitem__(self, i):
        x, label = self.items[i]
        if self.flip and random.random() < 0.5: x = x.flip(-1)
        return x, label

class SmallCNN(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(12, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Dropout(0.25), nn.Linear(48 * 16, n))
    def forward(self, x): return self.classifier(self.features(x).flatten(1))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    a, b, c = FolderDataset("train", 0, 240, flip=True), FolderDataset("train", 240, 290), FolderDataset("test", 0, 120)
    g = torch.Generator().manual_seed(seed)
    train = DataLoader(a, batch_size=32) if mistake else DataLoader(a, batch_size=32, shuffle=True, generator=g)
    validation = DataLoader(b, batch_size=100)
    net = SmallCNN(len(CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    def score(net):
        return sum((net(x).argmax(1) == y).sum().item() for x, y in DataLoader(c, batch_size=200)) / len(c)
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=12, score=score)
