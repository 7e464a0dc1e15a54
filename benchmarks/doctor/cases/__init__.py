"""The mistakes of the lists as code, and healthy trainings."""
