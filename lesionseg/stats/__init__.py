"""Statistics over patients and repeats; imports numpy and scipy alone."""

from lesionseg.stats.paired import PairedDifference, crossed_difference
from lesionseg.stats.summary import Summary, summarise

__all__ = ["PairedDifference", "Summary", "crossed_difference", "summarise"]
