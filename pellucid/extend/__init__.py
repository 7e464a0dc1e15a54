"""What user-defined parts need: their registry, their configurations in files, and checks of them."""
