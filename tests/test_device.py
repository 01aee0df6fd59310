"""Devices by name."""

import pytest
import torch

from scnym.base.errors import SettingsError
from scnym.model.device import device_of


def test_auto_is_the_fastest_device_that_is_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_of("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "cuda:x", "mps", "tpu", ""):
        with pytest.raises(SettingsError, match=r"--device: .* give auto or one of cpu, cuda"):
            device_of(name)
