"""Pictures that are there more than once: the same bytes, or the same photo saved, scaled or cropped again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.quality.align import alike
from pellucid.data.quality.groups import Groups
from pellucid.data.quality.hashing import GRID, close_pairs, perceptual_hash
from pellucid.errors import PellucidError

SIDE = 64  # pixels of the small grey pictures
BITS = 12  # in which the hashes of near duplicates differ at most: cut by 3 % at each edge, 99 of 100 do
SAME = 0.985  # correlation as they lie, at 32 pixels, that needs no aligning
LIKELY = 0.5  # and that of pairs worth aligning
WANTED = (0.9, 0.94, 0.97)  # correlations at 16, 32 and 64 pixels when aligned
PLAIN = 2.0  # standard deviation, in grey levels, of pictures that show nothing: all would be alike
CHUNK = 512  # pairs at a time


@dataclass(frozen=True)
class Pair:
    """Two pictures by their places, first < second, and their correlation when laid on each other."""

    first: int
    second: int
    similarity: float


def exact_duplicates(digests: Sequence[bytes]) -> list[Pair]:
    """Return each picture whose bytes, by their digests, an earlier one has, paired with the first of these."""
    first: dict[bytes, int] = {}
    places = ((first.setdefault(digest, i), i) for i, digest in enumerate(digests))
    return [Pair(i, j, 1.0) for i, j in places if i != j]


def near_duplicates(grey: Tensor) -> list[Pair]:
    """Return the pairs among small grey pictures that show the same photo.

    grey: (N, 64, 64), 0..255. Candidates have perceptual hashes that are close (see `close_pairs`); each is verified
    by aligning the two (see `alike`). Found are copies that were scaled, compressed, brightened, shifted, turned by
    a few degrees or cut by up to 5 % at an edge, and frames of one scene; a mirrored copy is another picture here.
    Pictures that show nothing are left out. Of a group of k that belong together k - 1 pairs are returned, which
    connect them.
    """
    if grey.dim() != 3 or tuple(grey.shape[1:]) != (SIDE, SIDE):
        raise PellucidError(f"near_duplicates: pictures have shape {tuple(grey.shape)}; give (N, {SIDE}, {SIDE})")
    if not len(grey):
        return []
    smaller = torch.cat([F.adaptive_avg_pool2d(some.float()[:, None], GRID)[:, 0] for some in grey.split(CHUNK)])
    shown = torch.nonzero(smaller.flatten(1).std(1, correction=0) > PLAIN).flatten()
    pairs = shown[torch.from_numpy(close_pairs(perceptual_hash(smaller[shown]), BITS))]  # (P, 2)
    flat = smaller.flatten(1)  # (N, 1024)
    flat = F.normalize(flat - flat.mean(1, keepdim=True))
    values = [(flat[some[:, 0]] * flat[some[:, 1]]).sum(1) for some in pairs.split(CHUNK)]
    likeness, order = torch.cat([torch.empty(0), *values]).sort(descending=True, stable=True)
    pairs = pairs[order]
    group = Groups(len(grey))
    sure = int((likeness >= SAME).sum())
    found = [
        Pair(i, j, value)
        for (i, j), value in zip(pairs[:sure].tolist(), likeness[:sure].tolist(), strict=True)
        if group.join(i, j)
    ]
    for some in pairs[sure : int((likeness >= LIKELY).sum())].split(CHUNK):
        apart = some[torch.tensor([not group.joined(i, j) for i, j in some.tolist()], dtype=torch.bool)]
        similar = alike(grey[apart[:, 0]], grey[apart[:, 1]], WANTED)
        for (i, j), value in zip(apart.tolist(), similar.tolist(), strict=True):
            if value and group.join(i, j):
                found.append(Pair(i, j, value))
    return sorted(found, key=lambda pair: (pair.first, pair.second))
