"""Training: the training step, the training loop, checkpoints, and the base class of Model."""
