"""The studio: a local page on which a network computes, explains itself and learns, one view per module."""
