"""Training with Lightning: module, data module and trainer."""
