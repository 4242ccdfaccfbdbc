import copy

import pytest
import torch
from torch.utils._pytree import tree_leaves

from stepimp.models.cuda_graphs import BATCHES, InFewShapes, padded_shape
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse


@pytest.mark.parametrize(
    "rows, queries, shape",
    [
        (1, 1, (4, 8)),
        (5, 8, (16, 8)),
        (32, 9, (32, 16)),
        (33, 1, (64, 8)),
        (256, 300, (256, 512)),
        (257, 8, (512, 8)),
    ],
)
def test_shapes_are_few(rows, queries, shape):
    assert padded_shape(rows, queries) == shape


@pytest.fixture
def bodies(random_model):
    """Two MDLMs in float64, one of them time-conditioned, as they are and with a body in few
    shapes; the shapes seen.
    """
    plain = {"h": random_model(1, time_conditioning=True), "l": random_model(2, n_blocks=1)}
    plain = {name: model.double().freeze() for name, model in plain.items()}
    seen = set()

    class Padded:
        def __init__(self, model):
            self.model = model
            self.replayed = InFewShapes(self.watched)

        def watched(self, z, t, at):
            seen.add((*at.shape, len(z), len(t)))
            return self.model.hidden(z, t, at)

        def __getattr__(self, name):
            return getattr(self.model, name)

    return plain, {name: Padded(model) for name, model in plain.items()}, seen


def test_filled_up_batches_give_the_same_tokens(bodies):
    plain, padded, seen = bodies
    schedule = parse("L3,H6,L3", "h", "l")
    exact = sampler.sample(plain, schedule, range(11), 24, seed=3, batch_size=5)
    assert torch.equal(sampler.sample(padded, schedule, range(11), 24, seed=3, batch_size=5), exact)
    assert {rows for rows, *_ in seen} <= set(BATCHES) and all(
        rows == z == t for rows, _, z, t in seen
    )
    assert {queries for _, queries, *_ in seen} <= {8, 16}


def test_a_body_that_does_not_compile_runs_uncompiled_and_draws_the_same_tokens(bodies):
    plain, padded, seen = bodies
    for model in padded.values():
        broken = torch.compile(model.watched, backend=failing_backend)
        model.replayed = InFewShapes(broken, eager=model.watched)
    schedule = parse("L3,H6,L3", "h", "l")
    exact = sampler.sample(plain, schedule, range(11), 24, seed=3, batch_size=5)
    with pytest.warns(UserWarning, match="runs uncompiled: .*no compiler here"):
        tokens = sampler.sample(padded, schedule, range(11), 24, seed=3, batch_size=5)
    assert torch.equal(tokens, exact)
    assert {shape[0] for shape in padded["h"].replayed.first_seconds} <= set(BATCHES)


def failing_backend(graph, inputs):
    raise RuntimeError("no compiler here")


def test_the_body_is_one_graph(random_model):
    """What torch.compile takes apart it cannot replay."""
    model = copy.deepcopy(random_model().freeze())  # without the CPU's packed weights
    constants = tree_leaves((model._constant, model._angles))
    assert len(constants) == 2 * 6 + 2 + 2 and all(
        isinstance(one, torch.Tensor) for one in constants
    )
    for one in constants:
        torch._dynamo.mark_static_address(one)
    traced = torch.compile(model._hidden, backend="eager", fullgraph=True, dynamic=False)
    z, t, at = torch.zeros(2, 12, dtype=torch.long), torch.rand(2), torch.tensor([[0, 3], [7, 1]])
    torch.testing.assert_close(InFewShapes(traced)(z, t, at), model.hidden(z, t, at))
