"""A model behind HTTP on this machine: limits of requests, the application, and its page."""
