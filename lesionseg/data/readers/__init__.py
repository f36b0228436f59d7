"""Datasets read from disk: BIDS folders, tables of paths, nnU-Net's raw datasets."""

from lesionseg.data.readers.bids import read_bids
from lesionseg.data.readers.nnunet import read_nnunet
from lesionseg.data.readers.table import read_table

__all__ = ["read_bids", "read_nnunet", "read_table"]
