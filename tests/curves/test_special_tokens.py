"""What inputs never mask: the tokens around a sequence, and special tokens inside it."""

import torch
from tiny_layouts import LAYOUTS

from stepimp.curves.inputs import TextInputs, framed
from stepimp.models.loading import load
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.sampling.trajectories import SampleInputs


def test_special_tokens_are_clean_at_every_time_and_all_others_masked_at_the_end():
    tokens = framed(torch.tensor([[7, 3, 8], [9, 9, 9]]), ((2,), (3,)))
    assert tokens.tolist() == [[2, 7, 3, 8, 3], [2, 9, 9, 9, 3]]
    inputs = TextInputs(tokens, 0, NoiseSchedule("linear"), special_ids=frozenset({2, 3}))
    z = corrupt(*inputs.draw(0, 2, 0), 1.0, 1, inputs.noise)
    assert z.tolist() == [[2, 1, 3, 1, 3], [2, 1, 1, 1, 3]]


def test_without_special_tokens_everything_is_masked_at_the_end():
    inputs = TextInputs(torch.full((2, 6), 5), 0, NoiseSchedule("linear"))
    assert (corrupt(*inputs.draw(0, 2, 0), 1.0, 1, inputs.noise) == 1).all()


def test_samples_keep_their_frame(tmp_path):
    path, _ = LAYOUTS["bert"](tmp_path / "a", 1, 1)
    denoisers = load([path], tmp_path, "cpu").denoisers
    inputs = SampleInputs(denoisers, path, 3, 7, 0, steps=5)
    z = corrupt(*inputs.draw(0, 3, 0), 1.0, 4, inputs.noise)
    assert z.tolist() == [[2, 4, 4, 4, 4, 4, 3]] * 3
