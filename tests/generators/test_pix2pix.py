"""pix2pix against a plain PyTorch training, its modes of prediction, and what it trains on."""

import torch

from pellucid import Adam
from pellucid.data.source import Batch
from pellucid.generators import pix2pix
from pellucid.generators.translation import CHROMA, LIGHTNESS
from pellucid.ops.colour import rgb_to_lab
from pellucid.training.step import Step
from pellucid.tree import map_tree
from tests.generators import twin

STEPS, WIDTH, LEVELS = 50, 2, 5
RATES = (2e-3, 1e-3)


def objective(**options):
    return pix2pix(width=WIDTH, levels=LEVELS, field=34, judge=2, **options)


def photos(count, side=32, seed=0):
    """Return smooth colour images (count, 3, side, side), 0 to 1."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=rng, dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def drawn(net, dtype=torch.float64, side=32):
    params, _ = net.init((3, side, side), torch.Generator().manual_seed(0))
    return map_tree(lambda leaf: (10 * leaf if leaf.dim() == 4 else leaf).to(dtype), params)


def test_fifty_steps_have_the_losses_of_plain_pytorch():
    mine = objective(l1=10.0)
    params, images = drawn(mine), photos(2 * STEPS)
    batches = [Batch(one, None) for one in images.split(2)]
    generator, judge = twin.Generator(1, 2, WIDTH, LEVELS).double(), twin.discriminator(3, WIDTH).double()
    twin.fill(generator, params["generator"])
    twin.fill(judge, params["discriminator"])
    labs = [rgb_to_lab(batch.images) for batch in batches]
    pairs = [(lab[:, :1] / LIGHTNESS - 1, lab[:, 1:] / CHROMA) for lab in labs]
    wanted = twin.train(generator, judge, pairs, RATES, 10.0)

    optimizers = {name: Adam(rate, 0.5) for name, rate in zip(mine.nets, RATES, strict=True)}
    step = Step(mine, params, optimizers, examples=len(images), precision="float64")
    found = []
    for number, batch in enumerate(batches):
        losses = step(batch, RATES[0], torch.Generator().manual_seed(number))
        found.append((losses["discriminator"], losses["generator"], losses["l1"]))
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-6)
    assert abs(wanted[0][2] - wanted[-1][2]) > 0.01  # which learned
