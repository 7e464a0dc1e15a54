"""Tasks: what a network is for, and how the world's pictures become its inputs."""
