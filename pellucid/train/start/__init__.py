"""What a training begins with in place of weights drawn at random."""
