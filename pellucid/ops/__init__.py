"""Pure functions of tensors that several packages need."""
