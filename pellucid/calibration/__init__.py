"""How far the outputs of a trained classifier can be trusted: calibrated confidence and familiarity."""
