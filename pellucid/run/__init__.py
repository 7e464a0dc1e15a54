"""What a training leaves on disk: the run folder, its history, and weights files with what they say of the model."""
