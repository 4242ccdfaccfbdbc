import pytest
import torch
import torch.nn.functional as F
from hostile import HostileProcessor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_hostile_processor_keeps_its_bits_for_one_shape_only(dtype):
    rows, weight = torch.randn(2, 6, 8, dtype=dtype)
    with HostileProcessor(0):
        together, again = F.linear(rows, weight), F.linear(rows, weight)
        alone = F.linear(rows[:3], weight)
    assert torch.equal(together, again) and not torch.equal(together[:3], alone)
    torch.testing.assert_close(together[:3], alone)
