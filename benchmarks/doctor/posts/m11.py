"""https://github.com/bentrevett/pytorch-sentiment-analysis/issues/86 (without packed sequences the last state is that of <pad> tokens)
CAUSE: short sentences are filled up behind with <pad> to a great length and the state after the last <pad> is used; over the many
empty steps the LSTM forgets what it has read and gets hardly any gradient.
FIX: pack_padded_sequence with the true lengths (or take the output at the last true token).
"""
import random
import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset

PAD, MAX_LEN = 0, 60
GOOD, BAD, NEUTRAL, NOT = range(1, 21), range(21, 41), range(41, 120), range(120, 124)


class Sentences(Dataset):
    def __init__(self, n, rng):
        self.texts, self.labels = [], []
        for _ in range(n):
            label = int(rng.integers(2))
            words = list(rng.choice(NEUTRAL, rng.integers(2, 8)))
            mood = GOOD if (label == 1) == (rng.random() < 0.85) else BAD
            at = int(rng.integers(0, len(words)))
            piece = [int(rng.choice(mood))]
            if (mood is GOOD) != (label == 1):
                piece = [int(rng.choice(NOT))] + piece
            self.texts.append(words[:at] + piece + words[at:]); self.labels.append(float(label))

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        t = self.texts[i]
        return torch.tensor(t + [PAD] * (MAX_LEN - len(t))), torch.tensor(self.labels[i])


class SentimentLSTM(nn.Module):
    def __init__(self, vocab, packed):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 24, padding_idx=PAD)
        self.rnn = nn.LSTM(24, 32, batch_first=True)
        self.fc = nn.Linear(32, 1)
        self.packed = packed

    def forward(self, text):
        embedded = self.embedding(text)
        if self.packed:
            embedded = pack_padded_sequence(embedded, (text != PAD).sum(1), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.rnn(embedded)
        return self.fc(hidden[-1]).squeeze(1)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val, test = Sentences(900, rng), Sentences(150, rng), Sentences(400, rng)
    net = SentimentLSTM(124, packed=not mistake)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    xs, ys = (torch.stack(t) for t in zip(*[test[i] for i in range(len(test))]))

    def score(network):
        network.eval()
        with torch.no_grad():
            return ((network(xs) > 0).float() == ys).float().mean().item()

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=10, score=score)
