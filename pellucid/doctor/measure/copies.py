"""Examples that are there more than once: bit by bit, and nearly."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.doctor.measure.simple import small

MOST, AMONG = 500, 10_000  # pictures whose nearest neighbours are sought, and among how many
REACH = 1  # pixels by which a picture may be moved
RANK, FAR_RANK = 5, 30  # of the neighbours that the nearest one is compared with


def digests(x: Tensor) -> list[bytes]:
    """Return what equal examples have in common, N of 16 bytes."""
    rows = x.detach().cpu().contiguous().flatten(1).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def closeness(x: Tensor, among: Tensor, seed: int, same: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for at most MOST pictures of x (N, C, H, W) how much nearer the nearest is than the RANK-th nearest.

    Returns (places in x, places in among of the nearest, quotients of the distances: 1 for no nearer, 0 for a copy, and
    the same by the FAR_RANK-th nearest, for copies of which there are many).
    Pictures are compared small, without brightness and contrast, and moved by up to REACH pixels. same: x is `among`,
    and a picture is no neighbour of its own.
    """
    rng = generator(seed)
    places = torch.randperm(len(x), generator=rng)[:MOST].sort().values
    others = torch.randperm(len(among), generator=rng)
    if len(others) > AMONG:  # a picture's own place may be among them, which is then left out
        others = others[:AMONG].sort().values
    known = _plain(among[others])
    height, width = x.shape[2:]
    padded = F.pad(float_images(x[places]), (REACH,) * 4, mode="replicate")
    moved = [(top, left) for top in range(2 * REACH + 1) for left in range(2 * REACH + 1)]
    distance = torch.full((len(places), len(others)), float("inf"))
    for top, left in moved:
        view = _plain(padded[:, :, top : top + height, left : left + width])
        distance = torch.minimum(distance, torch.cdist(view, known))
    if same:
        distance[places[:, None] == others] = float("inf")
    nearest = distance.topk(min(FAR_RANK, len(others)), largest=False)
    first, ranked = nearest.values[:, 0], nearest.values.clamp_min(1e-12)
    return places, others[nearest.indices[:, 0]], first / ranked[:, RANK - 1], first / ranked[:, -1]


def _plain(x: Tensor) -> Tensor:
    flat = small(x)
    return F.normalize(flat - flat.mean(1, keepdim=True))
