"""The losses of a generator and a discriminator, and their gradients with respect to the discriminator's scores."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.losses.base import upcast_half

GANLoss = Literal["non_saturating", "least_squares", "hinge"]  # the keys of ADVERSARIAL


class DiscriminatorLoss(NamedTuple):
    """The discriminator's loss, and its gradients with respect to the scores of real and of generated images."""

    value: Tensor
    dreal: Tensor
    dfake: Tensor


class Adversarial(ABC):
    """The losses of the discriminator and of the generator of a GAN.

    Scores, of any shape, are the discriminator's outputs without a sigmoid; the discriminator is trained to output high
    scores for real images. A loss is the mean over all scores, including the scores of patches. For scores in half
    precision it is computed in float32. Raises PellucidError for a batch without scores.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> DiscriminatorLoss:
        """Return the discriminator's loss, the sum of the means over real and over generated images."""
        real_value, dreal = self.discriminator_term(real, is_real=True)
        fake_value, dfake = self.discriminator_term(fake, is_real=False)
        return DiscriminatorLoss(real_value + fake_value, dreal, dfake)

    def discriminator_term(self, y: Tensor, is_real: bool) -> tuple[Tensor, Tensor]:
        """Return the discriminator's mean loss for scores of real or of generated images, and its gradient."""
        return _mean(y, *(self.real if is_real else self.fake)(_checked_scores(y)))

    def generator(self, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's loss and its gradient with respect to the scores of generated images."""
        return _mean(fake, *self.generator_loss(_checked_scores(fake)))

    @abstractmethod
    def real(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the discriminator's loss for each score of a real image, and its derivative."""

    @abstractmethod
    def fake(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the discriminator's loss for each score of a generated image, and its derivative."""

    @abstractmethod
    def generator_loss(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's loss for each score of a generated image, and its derivative."""


class NonSaturating(Adversarial):
    """Cross-entropy with D = sigmoid(y): -ln D and -ln(1 - D) for the discriminator, -ln D for the generator.

    Source: Goodfellow et al. 2014, equation 1, and the generator's alternative at the end of section 3.
    """

    def real(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -ln D and D - 1."""
        return F.softplus(-y), -(-y).sigmoid()

    def fake(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -ln(1 - D) and D."""
        return F.softplus(y), y.sigmoid()

    def generator_loss(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -ln D and D - 1."""
        return self.real(y)


class LeastSquares(Adversarial):
    """Squared errors: (y - 1)^2 / 2 and y^2 / 2 for the discriminator, (y - 1)^2 / 2 for the generator.

    Source: Mao et al. 2017, equation 9.
    """

    def real(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y - 1)^2 / 2 and y - 1."""
        return (y - 1).square() / 2, y - 1

    def fake(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return y^2 / 2 and y."""
        return y.square() / 2, y

    def generator_loss(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y - 1)^2 / 2 and y - 1."""
        return self.real(y)


class HingeGAN(Adversarial):
    """Hinge losses: max(0, 1 - y) and max(0, 1 + y) for the discriminator, -y for the generator.

    The derivative at a margin, y = 1 or y = -1, is 0. Source: Lim and Ye 2017, "Geometric GAN", algorithm 1.
    """

    def real(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return max(0, 1 - y) and its derivative: -1 where y < 1, otherwise 0."""
        return (1 - y).clamp_min(0), -(y < 1).to(y.dtype)

    def fake(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return max(0, 1 + y) and its derivative: 1 where y > -1, otherwise 0."""
        return (1 + y).clamp_min(0), (y > -1).to(y.dtype)

    def generator_loss(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -y and -1."""
        return -y, y.new_full(y.shape, -1.0)


ADVERSARIAL: dict[str, Adversarial] = {
    "non_saturating": NonSaturating(),
    "least_squares": LeastSquares(),
    "hinge": HingeGAN(),
}


def _checked_scores(y: Tensor) -> Tensor:
    if not y.numel():
        raise PellucidError("a batch without scores has no adversarial loss; leave it out")
    return upcast_half(y)


def _mean(y: Tensor, cost: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the losses `cost`, and its gradient in y's dtype, given their derivatives `slope`."""
    return cost.mean(), (slope / y.numel()).to(y.dtype)
