"""The bench of mistakes: what people do wrong in training, collected elsewhere, and what the doctor says of it."""
