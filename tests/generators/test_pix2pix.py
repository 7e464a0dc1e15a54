"""pix2pix compared with a plain PyTorch training."""

import torch

from benchmarks.peers.torch_pix2pix import Generator, Training, discriminator
from pellucid import Adam
from pellucid.data.source import Batch
from pellucid.generators import pix2pix
from pellucid.generators.translation import CHROMA_SCALE, LIGHTNESS_SCALE
from pellucid.nested import map_tree
from pellucid.ops.colour import rgb_to_lab
from pellucid.training.step import TrainingStep
from tests.generators.test_translation import smooth_images
from tests.generators.torch_reference import DrawnDropout, copy_params, set_dropout_rng

STEPS, WIDTH, LEVELS = 50, 2, 5
RATES, L1 = (2e-3, 1e-3), 10.0


def test_fifty_steps_have_the_losses_of_plain_pytorch():
    objective = pix2pix(width=WIDTH, levels=LEVELS, field=34, discriminator_width=WIDTH, l1=L1)
    initial_params, _ = objective.init((3, 32, 32), torch.Generator().manual_seed(0))
    params = map_tree(lambda leaf: (10 * leaf if leaf.dim() == 4 else leaf).double(), initial_params)
    images = smooth_images(2 * STEPS, 32, 32)
    reference = Training(
        Generator(1, 2, WIDTH, LEVELS, DrawnDropout).double(), discriminator(3, WIDTH, 2).double(), RATES, L1
    )
    copy_params(reference.generator, params["generator"])
    copy_params(reference.discriminator, params["discriminator"])
    optimizers = {name: Adam(rate, 0.5) for name, rate in zip(objective.nets, RATES, strict=True)}
    step = TrainingStep(objective, params, optimizers, examples=len(images), precision="float64")
    actual, expected = [], []
    for number, batch in enumerate(images.split(2)):
        losses = step(Batch(batch, None), RATES[0], torch.Generator().manual_seed(number))
        actual.append((losses["discriminator"], losses["generator"], losses["l1"]))
        set_dropout_rng(reference.generator, torch.Generator().manual_seed(number))
        lab = rgb_to_lab(batch)
        expected.append(reference.step(lab[:, :1] / LIGHTNESS_SCALE - 1, lab[:, 1:] / CHROMA_SCALE))
    torch.testing.assert_close(torch.tensor(actual), torch.tensor(expected), rtol=0, atol=1e-6)
    assert abs(expected[0][2] - expected[-1][2]) > 0.01  # the L1 loss has changed
