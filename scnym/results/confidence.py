"""How confidence is distributed, and whether it means what it says.

C cells, B bins.
"""

from typing import Any

import numpy as np

N_BINS = 20


def histogram(confidence_C: np.ndarray, is_in_C: np.ndarray | None = None) -> list[int]:
    """Count cells by confidence, in 20 equal bins from 0 to 1; only some of them, if it is said which."""
    confidence_C = confidence_C if is_in_C is None else confidence_C[is_in_C]
    return np.bincount(_bins(confidence_C, N_BINS), minlength=N_BINS).tolist()


def reliability(confidence_C: np.ndarray, correct_C: np.ndarray, n_bins: int) -> list[dict[str, Any]]:
    """Give mean confidence, accuracy and cells of every bin of confidence that has any (Guo et al. 2017, figure 1)."""
    bin_C = _bins(confidence_C, n_bins)
    sums = [np.bincount(bin_C, weights=w, minlength=n_bins) for w in (None, confidence_C, correct_C)]
    return [
        {"n_cells": int(n), "confidence": float(confidence / n), "accuracy": float(correct / n)}
        for n, confidence, correct in zip(*sums, strict=True)
        if n
    ]


def _bins(confidence_C: np.ndarray, n_bins: int) -> np.ndarray:
    return np.clip((confidence_C * n_bins).astype(int), 0, n_bins - 1)
