"""What training minimises, and the temperature that makes confidence mean something.

B cells, K classes.
"""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

LOG_TEMPERATURE_BOUNDS = (-2.0, 2.0)


def fit_temperature(logits_BK: torch.Tensor, labels_B: torch.Tensor) -> float:
    """Give the temperature that minimises the cross-entropy of logits / temperature (Guo et al. 2017).

    Parameters
    ----------
    logits_BK
        Logits of cells that were not trained on, shape (B, K).
    labels_B
        Their classes, shape (B,).
    """
    logits_BK = logits_BK.double()

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits_BK / np.exp(log_temperature), labels_B))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def probabilities_of(logits_BK: torch.Tensor, temperature: float) -> np.ndarray:
    """Give class probabilities, float64, shape (B, K)."""
    return torch.softmax(logits_BK.double() / temperature, dim=1).numpy()
