"""A network as it was written: its shapes, its size, its last layers, its drawing."""
