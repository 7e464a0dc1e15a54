"""Properties of networks: shapes, numbers of parameters and operations, last layers, and drawings."""
