"""A synthetic cohort: brains, lesions and scans drawn from parameters, without a single patient's scan."""
