"""How alike two pictures are once one is laid on the other: what cropping, shifting and turning change is undone."""

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = (16, 32, 64)  # pixels a side, from coarse to fine
STEPS = 4  # at each level
REACH = 0.25  # largest change of any entry of the affine map, in half pictures: what moves further has lost its way
OVERLAP = 0.7  # of the picture that must be covered by the other
LEAST_GAIN = 0.2
DAMPING = 1e-3  # relative: keeps the equations solvable where a picture is plain in one direction


def alike(a: Tensor, b: Tensor, wanted: tuple[float, ...]) -> Tensor:
    """Return the correlation (P,) of each picture a[p] with b[p] when that is moved to fit; 0 for those given up.

    a, b: (P, 64, 64) grey. An affine map of six numbers, a gain and an offset are fitted by least squares at three
    sizes, STEPS steps each; a pair whose correlation at a size is below that size's `wanted` is given up there.
    Source: Lucas, Kanade 1981, "An Iterative Image Registration Technique"; Baker, Matthews 2004, section 3.1.
    """
    found = torch.zeros(len(a))
    left = torch.arange(len(a))
    a, b = a.float()[:, None], b.float()[:, None]  # (P, 1, 64, 64)
    maps = torch.eye(2, 3).repeat(len(a), 1, 1)
    for side, least in zip(LEVELS, wanted, strict=True):
        if not len(left):
            break
        fixed, moving = F.adaptive_avg_pool2d(a[left], side), F.adaptive_avg_pool2d(b[left], side)
        maps = _fit(fixed, moving, maps)
        value = _correlation(fixed, moving, maps)
        good = value >= least
        left, maps, value = left[good], maps[good], value[good]
        if side == LEVELS[-1]:
            found[left] = value
    return found


def _fit(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """Improve the maps (P, 2, 3) by Gauss-Newton steps on sum (fixed - gain moving(map x) - offset)^2."""
    side = fixed.shape[-1]
    dx = F.pad((moving[..., 2:] - moving[..., :-2]) * side / 4, (1, 1))  # per half picture, as the maps count
    dy = F.pad((moving[..., 2:, :] - moving[..., :-2, :]) * side / 4, (0, 0, 1, 1))
    layers = torch.cat([moving, dx, dy], 1)  # (P, 3, S, S)
    place = (torch.arange(side) * 2 + 1) / side - 1
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))  # (S S,)
    same = torch.eye(2, 3)
    for _ in range(STEPS):
        warped, inside = _warp(layers, maps)
        value, along, down = warped.unbind(1)  # (P, S S)
        slopes = torch.stack(
            [along * x, along * y, along, down * x, down * y, down, value, torch.ones_like(value)], 2
        )  # (P, S S, 8)
        weighted = (slopes * inside[..., None]).transpose(1, 2)
        normal = weighted @ slopes
        normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * DAMPING + DAMPING)
        found = torch.linalg.solve(normal, weighted @ fixed.flatten(1)[..., None])[..., 0]  # (P, 8)
        step = found[:, :6] / found[:, 6:7].clamp_min(LEAST_GAIN)  # the slopes of gain moving are gain times theirs
        maps = maps + step.reshape(-1, 2, 3).clamp(-REACH / 2, REACH / 2)
        lost = (maps - same).abs().amax((1, 2)) > REACH
        maps = torch.where(lost[:, None, None], same, maps)
    return maps


def _correlation(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    warped, inside = _warp(moving, maps)
    a, b = (_centred(values, inside) for values in (fixed.flatten(1), warped[:, 0]))
    value = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-6)
    return torch.where(inside.mean(1) >= OVERLAP, value, 0.0)


def _centred(values: Tensor, inside: Tensor) -> Tensor:
    mean = (values * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    return (values - mean) * inside


def _warp(layers: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return layers (P, C, S S) read where the maps point, and (P, S S) 1 where that is inside the picture."""
    count, channels, side, _ = layers.shape
    grid = F.affine_grid(maps, [count, channels, side, side], align_corners=False)
    warped = F.grid_sample(layers, grid, padding_mode="border", align_corners=False)
    return warped.flatten(2), (grid.abs().amax(-1) <= 1).flatten(1).float()
