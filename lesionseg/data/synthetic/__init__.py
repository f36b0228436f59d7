"""A synthetic cohort, for trying things on without a single patient's scan."""

from lesionseg.data.synthetic.cohort import make_cohort
from lesionseg.data.synthetic.subject import Pathology

__all__ = ["Pathology", "make_cohort"]
