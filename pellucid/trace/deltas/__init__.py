"""Losses in pieces: where deltas begin."""
