"""The learning rate by which layers learn in the sweep."""

from dataclasses import dataclass


@dataclass
class Rate:
    """The learning rate of the step that runs, and by how much a step shrinks the weights."""

    lr: float = 0.0
    shrink: float = 0.0

    def set(self, lr: float, shrink: float) -> None:
        """Take the values of the next step."""
        self.lr, self.shrink = lr, shrink
