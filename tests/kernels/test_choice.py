"""Which implementation runs: of those that a kernel has, and that this machine can run."""

from types import SimpleNamespace

import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.kernels import choice

BOTH = ("reference", "torch")
ON_GPU = SimpleNamespace(is_cuda=True, dtype=torch.float32, device="cuda")


def test_auto_is_triton_on_a_gpu_where_the_kernel_has_it(monkeypatch):
    monkeypatch.setattr(choice, "installed", lambda: True)
    assert choice.choose("auto", ON_GPU) == "triton"
    assert choice.choose("auto", ON_GPU, BOTH) == "torch"
    assert choice.choose("auto", torch.zeros(1)) == "torch"
    monkeypatch.setattr(choice, "installed", lambda: False)
    assert choice.choose("auto", ON_GPU) == "torch"


def test_an_implementation_that_a_kernel_lacks_is_refused():
    with pytest.raises(StepimpError, match="'triton': use auto, reference or torch"):
        choice.choose("triton", ON_GPU, BOTH)
