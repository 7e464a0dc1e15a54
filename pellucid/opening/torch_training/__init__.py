"""Trainings written in PyTorch, taken as they are: network, loss, optimizer, scheduler and DataLoaders."""

from pellucid.opening.torch_training.training import TorchTraining, from_torch
from pellucid.opening.torch_training.watch import Watch, watch

__all__ = ["TorchTraining", "Watch", "from_torch", "watch"]
