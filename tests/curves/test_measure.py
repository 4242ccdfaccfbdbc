"""How often each model runs, what does not change the numbers, and what a killed run leaves."""

import numpy as np
import pytest
import torch
from fixed_inputs import TIMES, Fake, FixedInputs, measure_three, some_inputs

from stepimp.curves import measure, tables
from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.journals import Journal


def test_each_body_runs_once_per_input_and_once_for_all_at_t_1():
    models = {
        name: Fake(seed=seed, length=4)
        for seed, name in enumerate(("heavy", "light", "other", "seed2"))
    }
    measure.measure(
        models,
        "heavy",
        ("light", "other"),
        "seed2",
        some_inputs(3, n=10, length=4),
        (0.3, 0.6, 1.0),
        0,
        batch_size=5,
    )
    for model in models.values():
        assert model.batches == [5, 5, 1] * 2


def test_a_further_model_leaves_the_others_numbers_alone(three, random_model):
    inputs, more = some_inputs(23), three | {"deep": random_model(4, n_blocks=3, hidden_dim=24)}
    few = measure_three(three, inputs)
    many = measure.measure(more, "heavy", ("deep", "light"), "seed2", inputs, TIMES, 0)
    assert np.array_equal(few.entropy, many.entropy) and np.array_equal(few.masked, many.masked)
    for name in three:
        assert np.array_equal(few.ce[name], many.ce[name])
        assert name == "heavy" or np.array_equal(few.kl[name], many.kl[name])


def test_a_model_does_not_differ_from_itself(three):
    models = {"heavy": three["heavy"], "light": three["heavy"]}
    measurements = measure.measure(models, "heavy", ("light",), None, some_inputs(23), TIMES, 0)
    assert measurements.kl.keys() == {"light"} and np.abs(measurements.kl["light"]).max() <= 1e-6
    assert all(row["loss_abs_diff_nats"] == 0 for row in tables.loss_rows(measurements, 0))


def test_the_batch_size_does_not_matter(three):
    large, small = (measure_three(three, some_inputs(23), batch_size=size) for size in (20, 7))
    assert np.array_equal(large.masked, small.masked)
    np.testing.assert_allclose(large.kl["light"], small.kl["light"], rtol=1e-5)


def test_a_baseline_of_the_same_weights_is_refused(three):
    models = three | {"copy": three["heavy"]}
    with pytest.raises(StepimpError, match="Baseline copy holds the same weights as heavy"):
        measure.measure(models, "heavy", ("light",), "copy", some_inputs(23), TIMES, 0)


@pytest.mark.parametrize("finished", [1, 2, 3])
def test_a_killed_run_goes_on_and_ends_with_the_same_rows(three, tmp_path, finished):
    class Killed(Exception):
        pass

    def kill(done, total):
        if done >= 5 * finished:
            raise Killed

    inputs, path = some_inputs(23, repeats=2), tmp_path / "kl.journal"
    whole = measure_three(three, inputs, batch_size=5)
    with pytest.raises(Killed):
        measure_three(three, inputs, batch_size=5, journal=Journal(path, "key"), progress=kill)
    drawn = []
    inputs.draw = lambda *unit: drawn.append(unit) or FixedInputs.draw(inputs, *unit)
    resumed = measure_three(three, inputs, batch_size=5, journal=Journal(path, "key"))
    assert len(drawn) == 2 * (4 - finished)
    assert tables.kl_rows(resumed, 0) == tables.kl_rows(whole, 0)
    assert resumed.pack() == whole.pack()


def test_measurements_survive_the_document(three):
    measurements = measure_three(three, some_inputs(23))
    again = Measurements.unpack({"measurements": measurements.pack()})
    assert (
        tables.kl_rows(again, 0) == tables.kl_rows(measurements, 0)
        and again.pack() == measurements.pack()
    )


@pytest.mark.parametrize("document", [{}, {"measurements": {"heavy": "H"}}, {"measurements": 3}])
def test_a_document_without_curves_is_refused(document):
    with pytest.raises(StepimpError, match="loss.json holds no curves"):
        Measurements.unpack(document | {"path": "loss.json"})


@pytest.mark.parametrize("part", ["masked", "entropy", "times"])
def test_measurements_that_lack_a_part_are_damaged(three, part):
    packed = measure_three(three, some_inputs(23)).pack()
    packed[part] = packed[part][:-1]
    with pytest.raises(StepimpError, match="kl.json is damaged: .* different shapes"):
        Measurements.unpack({"measurements": packed, "path": "kl.json"})


def test_until_stops_at_the_first_chunk_that_is_narrow_enough(three):
    inputs = some_inputs(23, n=60)
    widths = {}
    for n in (20, 30, 40, 50, 60):
        widths[n] = tables.widest_band(
            measure_three(three, FixedInputs(inputs.tokens[:n], inputs.uniforms[:, :n])), 0
        )
    for aim in (1.0001 * widths[20], 1.0001 * widths[40]):  # clear of fp32 rounding
        expected = next(n for n, width in widths.items() if width <= aim)
        assert measure_three(three, inputs, batch_size=10, until=aim).sequences == expected < 60
    assert measure_three(three, inputs, batch_size=10, until=1e-9).sequences == 60


def test_the_width_is_that_of_the_widest_band_of_the_relative_kl(three):
    measurements = measure_three(three, some_inputs(23))
    halves = [
        (row["relative_kl_nats_high"] - row["relative_kl_nats_low"]) / 2
        for row in tables.kl_rows(measurements, 0)
    ]
    assert tables.widest_band(measurements, 0) == pytest.approx(max(halves))


def test_a_document_whose_measurements_were_left_out_is_told_from_others():
    with pytest.raises(StepimpError, match="a.json has the curves' rows without the measurements"):
        Measurements.unpack({"command": "curves", "path": "a.json"})


WRONG = {
    "The denoisers are a dict from name to denoiser, not a list": dict(denoisers=[]),
    "There is no denoiser 'ligth' among heavy, light, seed2": dict(lights=["ligth"]),
    "There is no denoiser '12b'": dict(heavy="12b"),
    r"TextInputs\(tokens, seed, noise\), not a Tensor": dict(inputs=torch.zeros(3, 4).long()),
    "Times are above 0 and at most 1, not 0": dict(times=[0, 0.5]),
    "Times are above 0 and at most 1, not nan": dict(times=[float("nan")]),
    "progress is 'bar': give True": dict(progress="bar"),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_measured(three, message):
    usual = dict(denoisers=three, heavy="heavy", lights="light", baseline=None, seed=0)
    usual |= dict(inputs=some_inputs(3), times=[0.5])
    assert measure.measure(**usual).lights == ("light",), "one name stands for itself"
    with pytest.raises(StepimpError, match=message):
        measure.measure(**usual | WRONG[message])
