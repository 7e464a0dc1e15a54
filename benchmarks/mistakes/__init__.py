"""The benchmark of mistakes: trainings with mistakes from public sources, and the doctor's findings in them."""
