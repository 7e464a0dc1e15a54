"""What is broken on purpose, by what it is done to."""
