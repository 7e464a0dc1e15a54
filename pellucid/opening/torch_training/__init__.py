"""Trainings written in PyTorch, taken as they are: network, loss, optimizer, scheduler and DataLoaders."""

from pellucid.opening.torch_training.training import TorchTraining, from_torch

__all__ = ["TorchTraining", "from_torch"]
