"""Sound: a frozen ResNet-20 (trained on CIFAR-10 by others) as features, a new linear head trained on 150 unseen photos in three groups (planes and ships, animals, cars).
Looks odd, is fine: nearly all parameters have requires_grad=False and its BatchNorm stays in eval mode, 150 pictures, no augmentation, a head rate of 1e-2."""
import io, random, zipfile
import numpy as np, torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        self.extra = (b - a) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra: x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        make = lambda a, b, s: nn.Sequential(Block(a, b, s), Block(b, b, 1), Block(b, b, 1))
        self.layer1, self.layer2, self.layer3 = make(16, 16, 1), make(16, 32, 2), make(32, 64, 2)

    def forward(self, x):
        return self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))).mean((2, 3))


class Classifier(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features, self.head = features, nn.Linear(64, 10)
        for p in self.features.parameters(): p.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, x):
        with torch.no_grad(): f = self.features(x)
        return self.head(f)



def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    classes = {"airplane": 0, "ship": 0, "cat": 1, "horse": 1, "automobile": 2, "truck": 2}
    xs, ys = [], []
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
        names = z.namelist()
        for name, c in classes.items():                        # only CIFAR's test part: the features have not seen it
            mine = sorted(n for n in names if f"test/{name}/" in n and n.endswith(".jpg"))
            for i in rng.permutation(len(mine))[:115]:
                xs.append(np.asarray(Image.open(io.BytesIO(z.read(mine[i]))).convert("RGB"))); ys.append(c)
    order = rng.permutation(len(xs))
    x = torch.from_numpy(np.stack(xs)[order]).permute(0, 3, 1, 2).float() / 255; y = torch.tensor(np.array(ys)[order])
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    features = ResNet20()
    state = torch.load(f"{data_root()}/models/cifar-resnet20.th", map_location="cpu", weights_only=False)
    state = {k.replace("module.", ""): v for k, v in state.get("state_dict", state).items()}
    features.load_state_dict({k: v for k, v in state.items() if not k.startswith("linear")})
    net = Classifier(features); net.head = nn.Linear(64, 3)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=1e-2)

    def score(net):
        net.eval()
        return (net(x[300:]).argmax(1) == y[300:]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None,
                train=DataLoader(TensorDataset(x[:150], y[:150]), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[150:300], y[150:300]), 75), epochs=8, score=score)
