"""The bench of the doctor: trainings that are broken on purpose, and healthy ones."""
