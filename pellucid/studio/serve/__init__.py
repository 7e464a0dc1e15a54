"""Predictions of a model over HTTP on this machine: limits of requests, the application, and its page."""
