"""Weights of the same values in another order: what is left of them is their scale."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def shuffled(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Each tensor's values permuted among themselves, so that its mean, its spread and every other moment stay.

    After the control of Raghu et al. 2019 (arXiv 1902.07208, section 5: "Mean Var"), which draws new values of the same
    mean and variance. What a network started from these gains over fresh weights, it gains from their scale.

    Args:
        weights: name to values.
        seed: with the tensor's name it fixes the permutation.
    """
    return {name: _permuted(value, f"{seed}/{name}") for name, value in weights.items()}


def _permuted(value: Tensor, key: str) -> Tensor:
    number = int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)
    order = torch.randperm(value.numel(), generator=torch.Generator().manual_seed(number))
    return value.reshape(-1)[order.to(value.device)].reshape(value.shape)
