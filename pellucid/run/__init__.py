"""The files of a training: the run folder, its history, and weights files with a description of the model."""
