"""Training: the step, the loop, checkpoints, and the base of a model."""
