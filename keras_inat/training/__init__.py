"""The one way to train a model, and to evaluate it."""
