"""Cohorts read from disk: BIDS folders, tables of paths, nnU-Net's raw datasets."""

from lesionseg.data.cohorts.bids import read_bids
from lesionseg.data.cohorts.manifest import read_manifest
from lesionseg.data.cohorts.nnunet import read_nnunet
from lesionseg.data.cohorts.subjects import select_subjects

__all__ = ["read_bids", "read_manifest", "read_nnunet", "select_subjects"]
