"""Small objectives of every family and random batches for them, for tests and `python -m benchmarks.verify`."""

from collections.abc import Callable
from dataclasses import replace

import torch

from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.detectors import Detector, KeypointRCNN, MaskRCNN
from pellucid.generators import Translator, mse, pix2pix, zhang
from pellucid.generators import l1 as absolute
from pellucid.layers import BatchNorm
from pellucid.layers.base import Params
from pellucid.objective import Objective
from tests.detectors.drawn import Rectangles, backbone, small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.test_keypoint import small_points, with_corner_points
from tests.detectors.test_mask import small_mask, with_oval_masks
from tests.detectors.two_stages import small_faster
from tests.generators.small import SHAPE, code_gmmn, gan, gmmn, r1_gan, vae, wgan_gp
from tests.generators.test_translation import smooth_images
from tests.own.two_networks import distill
from tests.own.two_networks import gan as own_gan


def perceptual() -> Objective:
    plain = pix2pix("image", width=2, levels=2, field=16, discriminator_width=2)
    features = Sequential(scale=BatchNorm(epsilon=0.0), maps=backbone(4))
    return replace(plain, features=features, weights=plain.weights | {"perceptual": 3.0})


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "single_stage": small_single_stage,
    "ssd": small_ssd,
    "yolo3": small_yolo3,
    "yolo1": small_yolo1,
    "fast_rcnn": small_fast,
    "faster_rcnn": small_faster,
    "mask_rcnn": small_mask,
    "keypoint_rcnn": small_points,
    "gan": gan,
    "gan, least squares": lambda: gan("least_squares"),
    "gan, hinge": lambda: gan("hinge"),
    "gan, spectral": lambda: replace(gan(weights={"discriminator": 0.5}), spectral=True),
    "wgan_gp": lambda: wgan_gp(weights={"penalty": 0.7}),
    "r1_gan": r1_gan,
    "gmmn": gmmn,
    "gmmn_ae": lambda: code_gmmn(noise=0.2),
    "vae": lambda: vae({"kl": 0.3}),
    "l1": lambda: absolute(width=2, levels=2),
    "l1 of RGB, hints": lambda: absolute(to="rgb", width=2, levels=2, hints=True),
    "mse": lambda: mse(width=2, levels=3, norm="instance"),
    "zhang": lambda: zhang(width=2, levels=2),
    "pix2pix": lambda: pix2pix(width=2, levels=2, field=16, discriminator_width=2, gan="least_squares"),
    "pix2pix, hinge, hints": lambda: pix2pix(
        width=2, levels=2, field=1, discriminator_width=2, gan="hinge", hints=True
    ),
    "pix2pix of images, perceptual": perceptual,
    "distillation": lambda: distill({"soft": 0.5}),
    "user's GAN": own_gan,
}


def random_batch(objective: Objective, seed: int) -> Batch:
    """Return a random batch for the objective: images with rectangles, smooth photos, or noise with classes."""
    rng = torch.Generator().manual_seed(seed)
    if isinstance(objective, Detector):
        batch = Rectangles(4).batch(range(4 * seed, 4 * seed + 4), None)
        batch = Batch((batch.images / 255 + 0.1 * torch.rand(batch.images.shape, generator=rng)), batch.targets)
        if isinstance(objective, MaskRCNN):
            return with_oval_masks(batch)
        return with_corner_points(batch) if isinstance(objective, KeypointRCNN) else batch
    if isinstance(objective, Translator):
        return Batch(smooth_images(3, seed=seed).float(), smooth_images(3, seed=seed + 1000).float())
    return Batch(torch.rand(6, *SHAPE, generator=rng), torch.randint(0, 10, (6,), generator=rng))


def initial_params(objective: Objective, batch: Batch, seed: int) -> Params:
    """Return initial parameters of the objective for the image size of a batch."""
    return objective.init(tuple(batch.images.shape[1:]), torch.Generator().manual_seed(seed))[0]
