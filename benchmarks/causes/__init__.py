"""Mistakes of all tasks, frozen before the doctor's interventions were written, and what each of them costs."""
