"""Composing and judging configurations: the only place beside the command line that knows Hydra."""
