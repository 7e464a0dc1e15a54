"""Hand gestures: training on a folder of pictures, and prediction of a gesture or "unsure"."""
