"""Hand gestures: from a folder of pictures to a network that names the gesture, or says that it is unsure."""
