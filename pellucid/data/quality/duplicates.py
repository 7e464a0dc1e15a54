"""Pictures that are there more than once: the same bytes, or the same photo saved, scaled or cropped again."""

from collections.abc import Callable, Sequence
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
TRIES = 16  # alignments of a picture, the likeliest first; of photos of one kind, such as hands, it takes about 4
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


def near_duplicates(grey: Tensor, progress: Callable[[int, int], None] | None = None) -> list[Pair]:
    """Return the pairs among small grey pictures that show the same photo.

    grey: (N, 64, 64), 0..255. Candidates have perceptual hashes that are close (see `close_pairs`); each is verified
    by aligning the two (see `alike`). Found are copies that were scaled, compressed, brightened, shifted, turned by
    a few degrees or cut by up to 5 % at an edge, and frames of one scene; a mirrored copy is another picture here.
    Pictures that show nothing are left out. Of a group of k that belong together k - 1 pairs are returned, which
    connect them. A pair is not aligned any more when both have been aligned TRIES times: so n TRIES alignments are the
    most there are, also of many frames on one background, all of which are a little alike.
    progress: is told how many pairs of how many are done.
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
    tell = progress or (lambda done, total: None)
    values: list[Tensor] = []
    for some in pairs.split(CHUNK):
        values.append((flat[some[:, 0]] * flat[some[:, 1]]).sum(1))
        tell(CHUNK * (len(values) - 1) + len(some), len(pairs))
    likeness, order = torch.cat([torch.empty(0), *values]).sort(descending=True, stable=True)
    pairs = pairs[order]
    group = Groups(len(grey))
    sure = int((likeness >= SAME).sum())
    found = [
        Pair(i, j, value)
        for (i, j), value in zip(pairs[:sure].tolist(), likeness[:sure].tolist(), strict=True)
        if group.join(i, j)
    ]
    likely = pairs[sure : int((likeness >= LIKELY).sum())]
    tries, done = [0] * len(grey), 0
    for some in likely.split(CHUNK):
        chosen: list[tuple[int, int]] = []
        for i, j in some.tolist():
            if min(tries[i], tries[j]) < TRIES and not group.joined(i, j):
                tries[i], tries[j] = tries[i] + 1, tries[j] + 1
                chosen.append((i, j))
        apart = torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2)
        similar = alike(grey[apart[:, 0]], grey[apart[:, 1]], WANTED)
        for (i, j), value in zip(chosen, similar.tolist(), strict=True):
            if value and group.join(i, j):
                found.append(Pair(i, j, value))
        done += len(some)
        tell(done, len(likely))
    return sorted(found, key=lambda pair: (pair.first, pair.second))
