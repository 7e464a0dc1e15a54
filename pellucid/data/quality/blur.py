"""Blurry pictures: by the variance of the Laplacian, on its own and within a collection."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError

WORKING = 256  # pixels of the longer side: finer blur is lost when a network's input is made of the picture
BLURRED = 0.35  # blurred whatever the others are: a Gaussian of 1.5 pixels brings sharp photos to 0.33
SHARP = 0.9  # and never blurry above this: 1 pixel brings them to 0.66
OUTLYING = 3.0  # robust standard deviations below the median
SPREAD = 0.1  # the least standard deviation of ln sharpness: without it, equal pictures would all be outliers
FAINT = 1.0  # variance of the gradients, in squared grey levels, below which a picture shows nothing
ROUNDING = 1 / 12  # variance of rounding to whole grey levels: all there is in the Laplacian of very soft pictures
CONSISTENT = 1.4826  # times the median of deviations is the standard deviation of a normal distribution

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]


def sharpness(grey: Tensor) -> float:
    """Return the variance of the Laplacian over that of the gradients: small where edges are soft.

    grey: (H, W), 0..255, of at least 3 x 3, its longer side at most `WORKING` pixels. The variance of the Laplacian
    alone (Pech-Pacheco, Cristobal, Chamorro-Martinez, Fernandez-Valdivia 2000) also falls with contrast and detail;
    the quotient, a mean squared frequency, does not. What rounding adds to both is taken off. Sharp photos have 1 to
    3, a picture that shows nothing 0.
    """
    if grey.dim() != 2 or min(grey.shape) < 3:
        raise PellucidError(f"sharpness: the picture has shape {tuple(grey.shape)}; give (H, W) of at least 3 x 3")
    x = grey.float()
    gradients = x.diff(dim=0).var(correction=0) + x.diff(dim=1).var(correction=0) - 4 * ROUNDING
    if gradients < FAINT:
        return 0.0
    laplacian = F.conv2d(x[None, None], _LAPLACIAN).var(correction=0) - 20 * ROUNDING  # 20 = 4^2 + 4
    return float(laplacian.clamp_min(0) / gradients)


def blurry(values: Tensor) -> Tensor:
    """Return (N,) booleans: which of a collection's sharpness values (N,) tell of blur.

    Those below BLURRED; and those below SHARP that are also outliers of the collection: more than OUTLYING robust
    standard deviations (1.4826 times the median of absolute deviations) of ln sharpness below the median.
    """
    if not len(values):
        return torch.zeros(0, dtype=torch.bool)
    logs = values.double().clamp_min(1e-6).log()
    middle = logs.median()
    spread = (CONSISTENT * (logs - middle).abs().median()).clamp_min(SPREAD)
    return (values < BLURRED) | ((values < SHARP) & (logs < middle - OUTLYING * spread))
