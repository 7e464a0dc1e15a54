"""https://github.com/shaoxiongji/federated-learning/issues/9 (softmax before CrossEntropyLoss; without it the MLP went from 90 % to 95 %)
CAUSE: the network ends in a Softmax and the loss is CrossEntropyLoss, which applies log-softmax itself; the gradients are so small and
bounded that the training hardly moves.
FIX: give the raw outputs (logits) to CrossEntropyLoss, without Softmax.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

COUNTRIES = {
    "it": ("bel cor dan fer gio lom mar pel ros sal tor ver", "etti ini one elli ucci ani aro ese"),
    "pl": ("kow now wis wój kam lew zie szy dąb krz", "alski ski wicz czyk arski ek iak"),
    "jp": ("ta yama naka suzu kobaya sato matsu ino hashi mori", "moto da mura ka shi ki gawa no"),
    "nl": ("de van ter vis bak jans mei mul smi boer", "en berg sma stra ink ers man dijk"),
    "ru": ("iva pet smir kuz pop vas sok mik fed moro", "nov rov lov ev in kov tsev shin"),
    "fr": ("dub mar ber laur lef rou bon gir mer du", "ois eau ier ent oux ard et elle"),
    "es": ("gar rod mar lop gon per san ram tor div", "cia iguez tinez ez alez era oral ado"),
    "fi": ("vir kor mäk nie hei lai kos saa jär tuo", "nen la kinen ola aho nalo lainen saari"),
}
CHARS = sorted(set("".join(a + b for a, b in COUNTRIES.values())) - {" "})
MAX = 14


def names(per_country, rng, noise=0.1):
    texts, labels = [], []
    for k, (heads, tails) in enumerate(COUNTRIES.values()):
        heads, tails = heads.split(), tails.split()
        for _ in range(per_country):
            s = rng.choice(heads) + ("" if rng.random() < 0.7 else rng.choice(heads)) + rng.choice(tails)
            s = "".join(rng.choice(CHARS) if rng.random() < noise else c for c in s)
            texts.append(s[-MAX:]); labels.append(k)
    return texts, labels


class Surnames(Dataset):
    def __init__(self, texts, labels):
        self.labels = labels
        self.codes = [torch.tensor([0] * (MAX - len(t)) + [CHARS.index(c) + 1 for c in t]) for t in texts]

    def __len__(self):
        return len(self.codes)

    def __getitem__(self, i):
        return self.codes[i], self.labels[i]


class NameMLP(nn.Module):
    def __init__(self, classes, last):
        super().__init__()
        self.embed = nn.Embedding(len(CHARS) + 1, 16, padding_idx=0)
        self.layer_input = nn.Linear(MAX * 16, 64)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.2)
        self.layer_hidden = nn.Linear(64, classes)
        self.out = last

    def forward(self, x):
        x = self.layer_input(self.embed(x).flatten(1))
        x = self.layer_hidden(self.relu(self.dropout(x)))
        return self.out(x)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val, test = (Surnames(*names(n, rng)) for n in (160, 30, 80))
    net = NameMLP(len(COUNTRIES), nn.Softmax(dim=1) if mistake else nn.Identity())
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    x, y = torch.stack(test.codes), torch.tensor(test.labels)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(x).argmax(1) == y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 64), epochs=12, score=score)
