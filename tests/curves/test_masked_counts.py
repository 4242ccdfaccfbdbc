"""Curves over n: exactly n positions are masked, chosen uniformly, the same ones for all models."""

import copy

import numpy as np
import pytest
import torch
from fixed_inputs import FixedInputs, some_inputs

from stepimp.curves import measure, tables
from stepimp.curves.inputs import TextInputs
from stepimp.curves.masked_counts import RankedInputs
from stepimp.curves.measurements import Measurements
from stepimp.curves.options import CurveOptions
from stepimp.noise import NoiseSchedule, corrupt


def masks(inputs, n):
    """[N, L] which positions are masked."""
    _, uniforms = inputs.draw(0, len(inputs), 0)
    tokens = torch.zeros(uniforms.shape, dtype=torch.long)
    return corrupt(tokens, uniforms, n / inputs.maskable, 9, inputs.noise) == 9


@pytest.mark.parametrize("noise", ["linear", "loglinear"])
@pytest.mark.parametrize("special", [frozenset(), frozenset([0, 7])], ids=["plain", "framed"])
def test_exactly_n_positions_are_masked_and_the_set_only_grows(noise, special):
    tokens = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7]]).repeat(50, 1)
    maskable = 8 - len(special)
    text = TextInputs(tokens, 0, NoiseSchedule(noise), special_ids=special)
    ranked = RankedInputs(text, maskable)
    before = torch.zeros(50, 8, dtype=torch.bool)
    for n in range(1, maskable + 1):
        masked = masks(ranked, n)
        assert (masked.sum(1) == n).all() and (masked >= before).all()
        assert not masked[:, torch.isin(tokens[0], torch.tensor(sorted(special)))].any()
        before = masked


def test_every_set_of_n_positions_is_as_likely():
    text = TextInputs(torch.zeros(6000, 4, dtype=torch.long), 3, NoiseSchedule())
    masked = masks(RankedInputs(text, 4), 2)
    codes = (masked * (2 ** torch.arange(4))).sum(1)
    counts = torch.bincount(codes)
    assert (counts > 0).sum() == 6 and (counts[counts > 0] - 1000).abs().max() < 5 * 29


def test_the_grid_holds_one_and_all_and_no_number_twice():
    ranked = RankedInputs(None, 64)
    assert ranked.counts(64).tolist() == list(range(1, 65)) == ranked.counts(200).tolist()
    assert ranked.counts(4).tolist() == [1, 22, 43, 64] and ranked.counts(1).tolist() == [64]


def test_the_statistics_at_n_are_those_of_its_sets(three):
    """Against the definition, one sequence at a time in float64."""
    inputs = some_inputs(23)
    ranked = RankedInputs(inputs, inputs.length)
    counts = ranked.counts(3)
    raw = measure.measure(three, "heavy", ("light",), "seed2", ranked, counts / 6, 0)
    measurements = ranked.exact(raw)
    assert measurements.counts.tolist() == counts.tolist() == [1, 4, 6]
    assert np.array_equal(measurements.masked, np.broadcast_to(counts[:, None, None], (3, 20, 1)))
    light = copy.deepcopy(three["light"]).double().freeze()
    for i, n in enumerate(counts):
        for s, (x, u) in enumerate(zip(inputs.tokens, inputs.uniforms[0])):
            chosen = u.argsort()[:n]
            z = x.clone()
            z[chosen] = light.mask_id
            with torch.no_grad():
                log_p = light.logits(light.hidden(z[None])[0, chosen]).log_softmax(-1)
            expected = -log_p[range(n), x[chosen]].sum().item()
            assert measurements.ce["light"][i, s, 0] == pytest.approx(expected, rel=1e-5)
    rows = tables.curve_rows(measurements, 0)
    assert [row["masked"] for row in rows] == [1, 4, 6] and rows[0]["t"] == 1 / 6
    again = Measurements.unpack({"measurements": measurements.pack()})
    assert again.maskable == 6 and tables.curve_rows(again, 0) == rows


def test_a_sequence_with_too_few_positions_to_mask_is_left_out(three):
    inputs = some_inputs(23, n=4)
    inputs.uniforms[0, 1, :2] = 1.0
    ranked = RankedInputs(FixedInputs(inputs.tokens, inputs.uniforms), 6)
    raw = measure.measure(three, "heavy", ("light",), None, ranked, np.array([4, 5]) / 6, 0)
    measurements = ranked.exact(raw)
    assert measurements.masked[:, :, 0].tolist() == [[4, 4, 4, 4], [5, 0, 5, 5]]
    assert [row["sequences"] for row in tables.kl_rows(measurements, 0)] == [4, 3]
    assert measurements.ce["light"][1, 1] == 0


def test_curves_over_t_keep_their_names():
    plain = CurveOptions("heavy", ("light",))
    assert "by_masked" not in plain.params() and "maskable" not in plain.params()
    assert CurveOptions("heavy", ("light",), by_masked=True).params()["by_masked"] is True


def test_the_nelbo_of_curves_over_n_is_the_mean_over_all_n(three):
    ranked = RankedInputs(some_inputs(23), 6)
    raw = measure.measure(three, "heavy", ("light",), None, ranked, np.arange(1, 7) / 6, 0)
    rows = tables.nelbo_rows(ranked.exact(raw), {"heavy": 2, "light": 1}, 0)
    for row in rows:
        plain = np.mean([raw.ce[row["model"]][n - 1].sum() / (20 * n) for n in range(1, 7)])
        assert row["nelbo_nats"] == pytest.approx(plain)
