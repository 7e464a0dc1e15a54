"""The benchmark of `pellucid doctor`: trainings with one injected fault, and healthy trainings."""
