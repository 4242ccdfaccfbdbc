"""Where inputs come from: text, and the heavy model's own samples."""

import itertools

import torch
from fixed_inputs import LINEAR, Fake

from stepimp.curves.inputs import TextInputs
from stepimp.noise import corrupt
from stepimp.sampling import sampler
from stepimp.sampling.trajectories import SampleInputs
from stepimp.schedules.schedule import Schedule


def test_text_is_corrupted_by_uniforms_of_the_seed_the_sequence_and_the_repeat():
    inputs = TextInputs(torch.arange(40).view(10, 4), 7, LINEAR, repeats=2)
    tokens, uniforms = inputs.draw(2, 9, 1)
    assert torch.equal(tokens, inputs.tokens[2:9])
    assert torch.equal(uniforms[3:5], inputs.draw(5, 7, 1)[1])
    different = [
        inputs.draw(0, 1, 0),
        inputs.draw(1, 2, 0),
        inputs.draw(0, 1, 1),
        TextInputs(inputs.tokens, 8, LINEAR).draw(0, 1, 0),
    ]
    for first, second in itertools.combinations(different, 2):
        assert not torch.equal(first[1], second[1])


def test_samples_are_masked_as_they_were_on_the_way():
    """At t = i/T the inputs are the very states that the heavy model's sampler was in after step i
    + 1.
    """
    denoisers, steps = {"heavy": Fake(seed=1, length=5)}, 8
    inputs = SampleInputs(denoisers, "heavy", 6, 5, seed=3, steps=steps)
    tokens, uniforms = inputs.draw(0, 6, 0)
    state = sampler.begin(range(6), 5, steps, 3, seed=3)
    for i in range(steps, 0, -1):
        list(sampler.advance(state, denoisers, Schedule.of(["heavy"] * steps), i, seed=3))
        assert torch.equal(corrupt(tokens, uniforms, i / steps, 3, inputs.noise), state.z)
    assert torch.equal(inputs.draw(4, 6, 0)[0], tokens[4:6])
