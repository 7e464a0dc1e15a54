"""Time NMS and RoIAlign against plain PyTorch expressions: `python -m benchmarks.detection`.

RoIAlign is written in PyTorch in two ways, interpolation by indexing and by `grid_sample`, and differentiated by
autograd. In each round, all implementations run one after the other in one process. The ratio of two times is taken
within a round, which cancels slow changes of the machine's speed; the median over the rounds is reported.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import Mode, RoIAlign
from pellucid.ops.boxes import box_iou
from pellucid.ops.nms import nms

OUTPUT_SIZE, BIN_SAMPLES = 7, 2
# shape of the maps (N, C, H, W), their stride, number of regions, largest side of a region in pixels of the map
ROI_JOBS = {
    "bccd": ((4, 96, 30, 40), 8, 256, 12),
    "one map of stride 16": ((2, 256, 38, 50), 16, 256, 25),
    "stride 4 of 800 x 1088": ((1, 256, 200, 272), 4, 512, 28),
}
# sides in pixels: of the image, of the smallest and of the largest box
NMS_JOBS = {"crowded": (320, 20, 120), "random": (1000, 10, 100), "sparse": (4000, 10, 60)}
NMS_BOXES, THRESHOLD = 10_000, 0.5


def plain_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Keep the box with the highest score, drop the boxes that overlap it, and repeat with the rest."""
    order, kept_indices = scores.argsort(descending=True, stable=True), []
    while len(order):
        kept_indices.append(order[0])
        overlap = box_iou(boxes[order[:1]], boxes[order[1:]])[0]
        order = order[1:][overlap <= threshold]
    return torch.stack(kept_indices)


def sample_positions(regions: Tensor, scale: float, size: int = OUTPUT_SIZE) -> tuple[Tensor, Tensor]:
    """Return x and y of the samples, each (M, size * BIN_SAMPLES); the centre of the first pixel is at 0."""
    low, high = regions[:, 1:3] * scale, regions[:, 3:] * scale
    fractions = (torch.arange(size * BIN_SAMPLES) + 0.5) / (size * BIN_SAMPLES)
    xy = low[:, None] + fractions[:, None] * (high - low)[:, None] - 0.5
    return xy[..., 0], xy[..., 1]


def roi_align_by_index(maps: Tensor, regions: Tensor, scale: float, size: int = OUTPUT_SIZE) -> Tensor:
    """Return RoIAlign (M, C, size, size) by interpolation between four indexed pixels."""
    height, width = maps.shape[2:]
    x, y = sample_positions(regions, scale, size)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long().clamp_max(width - 2), y.floor().long().clamp_max(height - 2)
    u, v = (x - left)[:, None, :, None], (y - top)[:, :, None, None]
    rows, image = maps.permute(0, 2, 3, 1), regions[:, 0].long()[:, None, None]
    top, left = top[:, :, None], left[:, None]
    upper = (1 - u) * rows[image, top, left] + u * rows[image, top, left + 1]
    lower = (1 - u) * rows[image, top + 1, left] + u * rows[image, top + 1, left + 1]
    return F.avg_pool2d(((1 - v) * upper + v * lower).permute(0, 3, 1, 2), BIN_SAMPLES)


def roi_align_by_grid_sample(maps: Tensor, regions: Tensor, scale: float) -> Tensor:
    """Return RoIAlign (M, C, OUTPUT_SIZE, OUTPUT_SIZE) by `grid_sample`, one image at a time."""
    size = torch.tensor([maps.shape[3], maps.shape[2]])
    pooled = maps.new_empty(len(regions), maps.shape[1], OUTPUT_SIZE, OUTPUT_SIZE)
    for image in range(len(maps)):
        region_indices = (regions[:, 0] == image).nonzero()[:, 0]
        x, y = sample_positions(regions[region_indices], scale)
        grid = torch.stack([x[:, None].expand(-1, x.shape[1], -1), y[:, :, None].expand(-1, -1, y.shape[1])], 3)
        grid = ((2 * grid + 1) / size - 1).view(1, -1, x.shape[1], 2)
        sampled = F.grid_sample(maps[image : image + 1], grid, padding_mode="border", align_corners=False)[0]
        sampled = sampled.view(maps.shape[1], len(region_indices), OUTPUT_SIZE * BIN_SAMPLES, -1).transpose(0, 1)
        pooled = pooled.index_put((region_indices,), F.avg_pool2d(sampled, BIN_SAMPLES))
    return pooled


def time_call(run: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(ours: Callable[[], Any], peers: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Return the median and minimum milliseconds of `ours`, and the median ratio of each peer's time to it."""
    for run in (ours, *peers.values()):
        run()
    rounds_seconds: list[dict[str, float]] = []
    for _ in range(rounds):
        rounds_seconds.append({"ours": time_call(ours)} | {name: time_call(run) for name, run in peers.items()})
    figures = {
        "ms": 1000 * statistics.median(one["ours"] for one in rounds_seconds),
        "least_ms": 1000 * min(t["ours"] for t in rounds_seconds),
    }
    return figures | {name: statistics.median(one[name] / one["ours"] for one in rounds_seconds) for name in peers}


def nms_job(name: str, rounds: int) -> dict[str, Any]:
    """Return the timings of NMS of NMS_BOXES random boxes."""
    image, smallest, largest = NMS_JOBS[name]
    rng = torch.Generator().manual_seed(0)
    size = smallest + torch.rand(NMS_BOXES, 2, generator=rng) * (largest - smallest)
    low = torch.rand(NMS_BOXES, 2, generator=rng) * image - size / 2
    boxes, scores = torch.cat([low, low + size], 1), torch.rand(NMS_BOXES, generator=rng)
    kept_indices = nms(boxes, scores, THRESHOLD)
    assert torch.equal(kept_indices, plain_nms(boxes, scores, THRESHOLD))
    with torch.inference_mode():
        figures = compare(
            lambda: nms(boxes, scores, THRESHOLD), {"plain": lambda: plain_nms(boxes, scores, THRESHOLD)}, rounds
        )
    return figures | {"kept": len(kept_indices)}


def roi_job(name: str, rounds: int) -> dict[str, Any]:
    """Return the timings of RoIAlign, forward and backward."""
    shape, stride, count, largest = ROI_JOBS[name]
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(shape, generator=rng).contiguous(memory_format=torch.channels_last)
    side = 1 + torch.rand(count, 2, generator=rng) * (largest - 1)
    low = torch.rand(count, 2, generator=rng) * (torch.tensor([shape[3], shape[2]]) - side)
    image = torch.randint(0, shape[0], (count, 1), generator=rng).float()
    regions = torch.cat([image, stride * low, stride * (low + side)], 1)
    layer, scale = RoIAlign(OUTPUT_SIZE, 1 / stride, BIN_SAMPLES), 1 / stride
    dy = torch.randn(count, shape[1], OUTPUT_SIZE, OUTPUT_SIZE, generator=rng)

    def ours() -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            y, cache = layer.forward({}, (maps, regions), Mode())
            return y, layer.backward({}, cache, dy)[0][0]

    def theirs(roi_align: Callable[[Tensor, Tensor, float], Tensor]) -> tuple[Tensor, Tensor]:
        leaf = maps.clone().requires_grad_()
        y = roi_align(leaf, regions, scale)
        return y.detach(), torch.autograd.grad(y, leaf, dy)[0]

    for function in (roi_align_by_index, roi_align_by_grid_sample):
        for actual, expected in zip(ours(), theirs(function), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    return compare(
        ours,
        {"by_index": lambda: theirs(roi_align_by_index), "by_grid": lambda: theirs(roi_align_by_grid_sample)},
        rounds,
    )


def main() -> None:
    """Run the jobs, and print one line for each job or one JSON object for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="run the jobs whose names contain this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    jobs = {f"nms {name}": (nms_job, name) for name in NMS_JOBS}
    jobs |= {f"roi_align {name}": (roi_job, name) for name in ROI_JOBS}
    results = {title: run(name, args.rounds) for title, (run, name) in jobs.items() if args.only in title}
    if args.json:
        print(json.dumps(results))
        return
    for name, figures in results.items():
        peers = ", ".join(
            f"{peer} {value:.2f}" for peer, value in figures.items() if peer not in ("ms", "least_ms", "kept")
        )
        print(f"{name}: {figures['ms']:.1f} ms (least {figures['least_ms']:.1f}); times as long: {peers}")


if __name__ == "__main__":
    main()
