"""Tensors that a denoiser cannot take are refused in words, whatever kind of model it is."""

import pytest
import torch
from tiny_layouts import LAYOUTS

from stepimp.curves.inputs import TextInputs
from stepimp.curves.measure import measure
from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.models.loading import load
from stepimp.noise import NoiseSchedule
from stepimp.sampling.orders import Order
from stepimp.sampling.policies import Policy, sample
from stepimp.schedules.schedule import parse


@pytest.fixture(scope="module", params=["mdlm", "bert"])
def model(request, tiny_family, tmp_path_factory):
    if request.param == "mdlm":
        return load(["1b"], tiny_family, "cpu").any
    folder = tmp_path_factory.mktemp("layout") / "bert"
    path, _ = LAYOUTS["bert"](folder, 1, 1)
    return load([path], folder, "cpu").any


Z = torch.zeros(2, 6, dtype=torch.long)
T = torch.tensor([1.0, 0.5])
AT = torch.tensor([[0, 1], [2, 5]])
WRONG = {
    "z is a list, not int64 token ids": dict(z=Z.tolist()),
    r"z is float32 of shape \[2, 6\] on cpu, not int64": dict(z=Z.float()),
    r"z is int64 of shape \[6\] on cpu, not": dict(z=Z[0]),
    r"z is int64 of shape \[0, 6\]": dict(z=Z[:0], t=T[:0]),
    "z is on meta, the model on cpu": dict(z=Z.to("meta")),
    r"z has values outside 0\.\.": dict(z=Z + 10**6),
    r"z has values outside 0\.\.\d": dict(z=Z - 1),
    "z has 4000 tokens per sequence; the model reads at most": dict(z=Z.repeat(1, 2000)[:, :4000]),
    "t is a float, not a time for each of 2": dict(t=0.5),
    r"t is float32 of shape \[3\] on cpu, not a time": dict(t=torch.ones(3)),
    r"t is float32 of shape \[2, 1\]": dict(t=T[:, None]),
    r"t has values outside 0\.\.1": dict(t=2 * T),
    "t has values outside": dict(t=T * torch.nan),
    "at is a list, not int64 positions": dict(at=AT.tolist()),
    r"at is int64 of shape \[2\] on cpu, not": dict(at=AT[0]),
    "at is float32": dict(at=AT.float()),
    r"at is int64 of shape \[1, 2\] on cpu, z int64": dict(at=AT[:1]),
    r"at has values outside 0\.\.5": dict(at=AT + 1),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_hidden_does_not_take(model, message):
    usual = dict(z=Z, t=T, at=AT)
    assert model.hidden(**usual).shape[:2] == (2, 2)
    with pytest.raises(ValueError, match=message):
        model.hidden(**usual | WRONG[message])


def test_the_sampler_does_not_check_each_step(model, monkeypatch):
    """What it passes is known to fit: only the start, which all samples share, is looked at."""
    seen, check = [], "stepimp.models.{}.check_inputs"
    for module in ("mdlm", "native"):
        monkeypatch.setattr(check.format(module), lambda *given: seen.append(given))
    sample({"m": model}, Policy(parse("H8", "m")), range(3), 8, seed=0)
    assert len(seen) == 1


class Mine(torch.nn.Module, Denoiser):
    """All that a model of one's own needs."""

    def __init__(self):
        super().__init__()
        self.vocab_size, self.mask_id, self.max_length, self.blocks = 9, 8, 16, 1
        self.device, self.fingerprint = torch.device("cpu"), "mine"
        self.embedding, self.output = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)

    def hidden(self, z, t=None, at=None):
        rows = self.embedding(z)
        return rows if at is None else rows.gather(1, at[..., None].expand(-1, -1, 4))

    def head(self):
        return self.output.weight, self.output.bias


def test_a_model_of_ones_own_needs_no_more_than_its_docstring_says():
    mine = Mine()
    drawn = sample({"mine": mine}, Policy(parse("mine:4", None)), range(2), 8, seed=0)
    assert drawn.shape == (2, 8) and (drawn != mine.mask_id).all()
    assert (mine.logits(torch.zeros(1, 4))[:, mine.mask_id] == -torch.inf).all()


class Careless(Mine):
    """Gives the rows of all positions, whichever are asked about."""

    def hidden(self, z, t=None, at=None):
        return super().hidden(z)


CARELESS = r"hidden\(z, t, at\) of a Careless gives the shape \[2, 8, 4\] for positions at of"


@pytest.mark.parametrize("order", [None, "confidence", "remdm-cap"])
def test_rows_of_other_positions_are_not_sampled(order):
    policy = Policy(parse("mine:4", None), order=order and Order(order))
    with pytest.raises(StepimpError, match=CARELESS):
        sample({"mine": Careless()}, policy, range(2), 8, seed=0)


def test_rows_of_other_positions_are_not_measured():
    models = {"heavy": Mine(), "light": Careless()}
    inputs = TextInputs(torch.zeros(2, 8, dtype=torch.long), seed=0, noise=NoiseSchedule())
    with pytest.raises(StepimpError, match=CARELESS):
        measure(models, "heavy", "light", None, inputs, [0.5], seed=0)
