"""https://github.com/delip/PyTorchNLPBook/issues/22 (make_embedding_matrix assumes that the words come in the order of the vocabulary)
CAUSE: the rows of the matrix of pretrained word vectors follow another word list (alphabetical) than the codes of the vocabulary (in
the order of appearance), so each word gets some other word's vector; the embedding is frozen.
FIX: fill the matrix by the codes of the vocabulary: matrix[vocab.token_to_idx[word]] = vector of word.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

TOPICS, WORDS, LENGTH, DIM = 6, 50, 12, 24


def language(rng):
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = set()
    while len(words) < TOPICS * WORDS + 100:
        words.add("".join(rng.choice(letters, rng.integers(3, 8))))
    words = sorted(words); rng.shuffle(words)
    return [words[k * WORDS:(k + 1) * WORDS] for k in range(TOPICS)], words[TOPICS * WORDS:]


def sentence(topic, lang, rng):
    topics, common = lang
    out = []
    for _ in range(LENGTH):
        u = rng.random()
        source = topics[topic] if u < 0.35 else common if u < 0.8 else topics[int(rng.integers(TOPICS))]
        out.append(source[int(rng.integers(len(source)))])
    return out


def word_vectors(corpus):
    """Vectors from an unlabelled corpus: co-occurrence, PPMI, SVD."""
    words = sorted({w for s in corpus for w in s}); at = {w: i for i, w in enumerate(words)}
    m = np.zeros((len(corpus), len(words)))
    for r, s in enumerate(corpus):
        for w in s:
            m[r, at[w]] = 1
    c = m.T @ m; np.fill_diagonal(c, 0)
    p = c / c.sum(); q = p.sum(0)
    ppmi = np.log(np.maximum(p / np.maximum(np.outer(q, q), 1e-12), 1.0))
    u, s, _ = np.linalg.svd(ppmi)
    vec = u[:, :DIM] * np.sqrt(s[:DIM])
    return {w: (vec[i] / vec.std()).astype(np.float32) for w, i in at.items()}


class Vocabulary:
    def __init__(self):
        self.token_to_idx = {"<MASK>": 0, "<UNK>": 1}

    def add(self, token):
        self.token_to_idx.setdefault(token, len(self.token_to_idx))

    def lookup(self, token):
        return self.token_to_idx.get(token, 1)


def make_embedding_matrix(vectors, words):
    matrix = np.zeros((len(words), DIM), np.float32)
    for i, word in enumerate(words):
        if word in vectors:
            matrix[i] = vectors[word]
    return torch.from_numpy(matrix)


class News(Dataset):
    def __init__(self, texts, labels, vocab):
        self.x = torch.tensor([[vocab.lookup(w) for w in t] for t in texts]); self.y = torch.tensor(labels)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class NewsClassifier(nn.Module):
    def __init__(self, matrix):
        super().__init__()
        self.emb = nn.Embedding.from_pretrained(matrix, freeze=True, padding_idx=0)
        self.fc1, self.fc2, self.drop = nn.Linear(DIM, 32), nn.Linear(32, TOPICS), nn.Dropout(0.2)

    def forward(self, x):
        return self.fc2(self.drop(torch.relu(self.fc1(self.emb(x).mean(1)))))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lang = language(rng)
    make = lambda n: [sentence(k % TOPICS, lang, rng) for k in range(n)]
    vectors = word_vectors(make(1500))
    texts = {"train": make(360), "val": make(120), "test": make(600)}
    vocab = Vocabulary()
    for part in texts.values():
        for t in part:
            for w in t:
                vocab.add(w)
    words = sorted(vocab.token_to_idx) if mistake else list(vocab.token_to_idx)
    net = NewsClassifier(make_embedding_matrix(vectors, words))
    sets = {k: News(t, [i % TOPICS for i in range(len(t))], vocab) for k, t in texts.items()}
    opt = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=5e-3)
    test = sets["test"]

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(test.x).argmax(1) == test.y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=3),
                train=DataLoader(sets["train"], 24, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(sets["val"], 60), epochs=25, score=score)
