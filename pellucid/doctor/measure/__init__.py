"""What checks look at, measured once for all of them."""
