"""Every statistic against formulas (4) to (6), computed in float64 one sequence at a time."""

import copy

import numpy as np
import pytest
import torch
from fixed_inputs import TIMES, FixedInputs, measure_three, some_inputs

from stepimp.curves import tables
from stepimp.curves.measurements import Measurements


def per_sequence(models, x, u, t):
    """(4) and the mean over M of KL(p_H || p_k) of every model, in float64; None where
    M is empty.
    """
    mask_id = models["heavy"].mask_id
    z = torch.where(u < t, mask_id, x)
    masked = z == mask_id
    if not masked.any():
        return None
    log_p = {
        name: model.logits(model.hidden(z[None])[0, masked]).log_softmax(-1)
        for name, model in models.items()
    }
    p_heavy, real = log_p["heavy"].exp(), torch.arange(models["heavy"].vocab_size) != mask_id
    ce = {name: -rows[range(len(rows)), x[masked]].mean() for name, rows in log_p.items()}
    kl = {
        name: (p_heavy * (log_p["heavy"] - rows))[:, real].sum(-1).mean()
        for name, rows in log_p.items()
    }
    entropy = -(p_heavy * log_p["heavy"])[:, real].sum(-1).mean()
    return {"ce": ce, "kl": kl, "entropy": entropy, "masked": masked.sum()}


def reference(models, inputs, t):
    """The columns of `loss` and `kl` by formulas (4) to (6), and how many sequences they
    average.
    """
    exact = {name: copy.deepcopy(model).double().freeze() for name, model in models.items()}
    with torch.no_grad():
        computed = [per_sequence(exact, x, u, t) for x, u in zip(inputs.tokens, inputs.uniforms[0])]
    sequences = [statistics for statistics in computed if statistics is not None]
    columns = {
        "loss_abs_diff_nats": [
            abs(sequence["ce"]["light"] - sequence["ce"]["heavy"]) for sequence in sequences
        ],
        "loss_diff_nats": [
            sequence["ce"]["light"] - sequence["ce"]["heavy"] for sequence in sequences
        ],
        "ce_nats": [sequence["ce"]["light"] for sequence in sequences],
        "ce_heavy_nats": [sequence["ce"]["heavy"] for sequence in sequences],
        "kl_nats": [sequence["kl"]["light"] for sequence in sequences],
        "baseline_kl_nats": [sequence["kl"]["seed2"] for sequence in sequences],
        "relative_kl_nats": [
            sequence["kl"]["light"] - sequence["kl"]["seed2"] for sequence in sequences
        ],
    }
    weights = torch.stack([sequence["masked"] for sequence in sequences])
    return {name: torch.stack(values) for name, values in columns.items()}, weights


@pytest.mark.parametrize("i", range(len(TIMES)))
def test_every_sequence_has_its_own_numbers(three, i):
    inputs = some_inputs(23)
    measurements = measure_three(three, inputs)
    exact = {name: copy.deepcopy(model).double().freeze() for name, model in three.items()}
    for n, (x, u) in enumerate(zip(inputs.tokens, inputs.uniforms[0])):
        expected = per_sequence(exact, x, u, TIMES[i])
        if expected is None:
            assert measurements.masked[i, n, 0] == 0
            continue
        assert measurements.masked[i, n, 0] == expected["masked"]
        for name in three:
            assert measurements.per_sequence(measurements.ce[name])[i, n] == pytest.approx(
                expected["ce"][name].item(), rel=1e-5
            )
        assert measurements.per_sequence(measurements.kl["light"])[i, n] == pytest.approx(
            expected["kl"]["light"].item(), rel=1e-5
        )
        assert measurements.per_sequence(measurements.entropy)[i, n] == pytest.approx(
            expected["entropy"].item(), rel=1e-5
        )


@pytest.mark.parametrize("t", TIMES)
def test_every_column_is_what_its_formula_says(three, t):
    inputs = some_inputs(23)
    measurements = measure_three(three, inputs)
    expected, weights = reference(three, inputs, t)
    for rows in (tables.loss_rows(measurements, 0), tables.kl_rows(measurements, 0)):
        row = next(row for row in rows if row["t"] == t)
        assert row["sequences"] == len(weights)
        for name in expected.keys() & row.keys():
            assert row[name] == pytest.approx(expected[name].mean().item(), rel=1e-5), name
            assert (
                row[name + "_low"] <= row[name] + 1e-12 and row[name] <= row[name + "_high"] + 1e-12
            )
    if t == 0.5:  # the inputs can tell: another mean would be seen
        for name, values in expected.items():
            token_weighted = (values * weights).sum() / weights.sum()
            assert abs(token_weighted / values.mean() - 1) > 1e-3, name


def test_some_inputs_have_one_masked_token_some_none_and_some_all():
    inputs = some_inputs(23)
    counts = (inputs.uniforms[0] < 0.1).sum(1)
    assert (counts == 0).any() and (counts == 1).any() and (inputs.uniforms[0] < 1.0).all()


def test_a_sequence_without_a_masked_position_is_left_out_and_not_zero():
    masked = np.array([[[0], [2], [4]]])
    sums = {"H": np.array([[[0.0], [2.0], [8.0]]]), "L": np.array([[[0.0], [6.0], [4.0]]])}
    measurements = Measurements(
        "H", ("L",), None, 8, np.array([0.5]), masked, sums, {"L": sums["L"]}, sums["H"]
    )
    row = tables.loss_rows(measurements, 0)[0] | tables.kl_rows(measurements, 0)[0]
    assert row["sequences"] == 2
    assert row["ce_nats"] == (3 + 1) / 2 and row["kl_nats"] == (3 + 1) / 2
    assert row["loss_diff_nats"] == (2 - 1) / 2 and row["loss_abs_diff_nats"] == (2 + 1) / 2


def test_nothing_masked_at_all_is_no_number():
    zero = np.zeros((1, 3, 1))
    measurements = Measurements(
        "H", ("L",), None, 8, np.array([0.1]), zero, {"H": zero, "L": zero}, {"L": zero}, zero
    )
    row = tables.kl_rows(measurements, 0)[0]
    assert np.isnan(row["kl_nats"]) and row["sequences"] == 0


def test_repeats_average_within_a_sequence_first():
    masked = np.array([[[1, 3], [0, 2]]])
    sums = np.array([[[4.0, 6.0], [0.0, 10.0]]])
    measurements = Measurements("H", (), None, 8, np.array([0.5]), masked, {"H": sums}, {}, sums)
    assert measurements.per_sequence(sums).tolist() == [
        [(4 + 2) / 2, 5]
    ]  # the repeat with nothing masked is left out
    assert measurements.per_token(sums).tolist() == [
        [10 / 4, 5]
    ] and measurements.tokens.tolist() == [[4, 2]]


def test_repeats_are_separate_corruptions_of_the_same_sequences(three):
    inputs = some_inputs(23, repeats=2)
    both = measure_three(three, inputs)
    for repeat in range(2):
        alone = measure_three(
            three, FixedInputs(inputs.tokens, inputs.uniforms[repeat : repeat + 1])
        )
        assert np.array_equal(both.kl["light"][..., repeat], alone.kl["light"][..., 0])
