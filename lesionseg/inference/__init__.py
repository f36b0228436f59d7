"""From a network and a volume to a lesion probability map; importable with torch alone."""

from lesionseg.inference.sliding_window import sliding_window

__all__ = ["sliding_window"]
