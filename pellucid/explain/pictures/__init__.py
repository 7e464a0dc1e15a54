"""Pictures of what an explanation found, and numbers in files."""
