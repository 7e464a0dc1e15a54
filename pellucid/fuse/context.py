"""How the layers of a part of a network learn."""

from dataclasses import dataclass

from pellucid.fuse.rate import Rate


@dataclass(frozen=True)
class FusionContext:
    """Whether layers learn at all, and the rate by which they do so in the sweep; without one they return gradients."""

    rate: Rate | None = None
    learns: bool = True


GRADIENTS = FusionContext()
FROZEN = FusionContext(learns=False)
