"""The measurement behind `loss` and `kl` against formulas (4) to (6), its bands, and what a killed
run leaves.
"""

import copy
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from fakes import FakeDenoiser
from scipy import stats

from stepimp.curves import measure, tables
from stepimp.curves.inputs import TextInputs
from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.intervals import bands, resampled_means
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.results import Journal
from stepimp.sampling import sampler
from stepimp.sampling.trajectories import SampleInputs
from stepimp.schedules.schedule import Schedule

LINEAR = NoiseSchedule("linear")
LENGTH, TIMES = 6, (0.1, 0.5, 1.0)


@dataclass
class FixedInputs:
    """Given tokens and uniforms, both [N, L]; uniforms with one more axis in front for repeats."""

    tokens: torch.Tensor
    uniforms: torch.Tensor
    noise = LINEAR

    def __len__(self):
        return len(self.tokens)

    @property
    def length(self):
        return self.tokens.shape[1]

    @property
    def repeats(self):
        return len(self.uniforms)

    def draw(self, start, stop, repeat):
        return self.tokens[start:stop], self.uniforms[repeat, start:stop]


def some_inputs(vocab, n=20, repeats=1, seed=0, length=LENGTH):
    draw = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(repeats, n, length, generator=draw, dtype=torch.float64)
    return FixedInputs(torch.randint(0, vocab, (n, length), generator=draw), uniforms)


@pytest.fixture(scope="module")
def three(random_model):
    """Heavy, light, and another seed of the heavy one."""
    models = {
        "heavy": random_model(1),
        "light": random_model(2, n_blocks=1),
        "seed2": random_model(3),
    }
    for name, model in models.items():
        model.freeze().fingerprint = name
    return models


def measured(three, inputs, times=TIMES, **options):
    return measure.measure(three, "heavy", ("light",), "seed2", inputs, times, 0, **options)


# ---- the formulas ----


def per_sequence(models, x, u, t):
    """(4) of every model and mean over M of KL(p_H || p_k), of one sequence in float64; None where
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
    ce = {name: -one[range(len(one)), x[masked]].mean() for name, one in log_p.items()}
    kl = {
        name: (p_heavy * (log_p["heavy"] - one))[:, real].sum(-1).mean()
        for name, one in log_p.items()
    }
    entropy = -(p_heavy * log_p["heavy"])[:, real].sum(-1).mean()
    return {"ce": ce, "kl": kl, "entropy": entropy, "masked": masked.sum()}


def reference(models, inputs, t):
    """The columns of `loss` and `kl` by formulas (4) to (6), and how many sequences they
    average.
    """
    exact = {name: copy.deepcopy(model).double().freeze() for name, model in models.items()}
    with torch.no_grad():
        found = [per_sequence(exact, x, u, t) for x, u in zip(inputs.tokens, inputs.uniforms[0])]
    found = [one for one in found if one is not None]
    columns = {
        "loss_abs_diff_nats": [abs(one["ce"]["light"] - one["ce"]["heavy"]) for one in found],
        "loss_diff_nats": [one["ce"]["light"] - one["ce"]["heavy"] for one in found],
        "ce_nats": [one["ce"]["light"] for one in found],
        "ce_heavy_nats": [one["ce"]["heavy"] for one in found],
        "kl_nats": [one["kl"]["light"] for one in found],
        "baseline_kl_nats": [one["kl"]["seed2"] for one in found],
        "relative_kl_nats": [one["kl"]["light"] - one["kl"]["seed2"] for one in found],
    }
    weights = torch.stack([one["masked"] for one in found])
    return {name: torch.stack(values) for name, values in columns.items()}, weights


@pytest.mark.parametrize("i", range(len(TIMES)))
def test_every_sequence_has_its_own_numbers(three, i):
    inputs = some_inputs(23)
    found = measured(three, inputs)
    exact = {name: copy.deepcopy(model).double().freeze() for name, model in three.items()}
    for n, (x, u) in enumerate(zip(inputs.tokens, inputs.uniforms[0])):
        expected = per_sequence(exact, x, u, TIMES[i])
        if expected is None:
            assert found.masked[i, n, 0] == 0
            continue
        assert found.masked[i, n, 0] == expected["masked"]
        for name in three:
            assert found.per_sequence(found.ce[name])[i, n] == pytest.approx(
                expected["ce"][name].item(), rel=1e-5
            )
        assert found.per_sequence(found.kl["light"])[i, n] == pytest.approx(
            expected["kl"]["light"].item(), rel=1e-5
        )
        assert found.per_sequence(found.entropy)[i, n] == pytest.approx(
            expected["entropy"].item(), rel=1e-5
        )


@pytest.mark.parametrize("t", TIMES)
def test_every_column_is_what_its_formula_says(three, t):
    inputs = some_inputs(23)
    found = measured(three, inputs)
    expected, weights = reference(three, inputs, t)
    for rows in (tables.loss_rows(found, 0), tables.kl_rows(found, 0)):
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
    found = Measurements(
        "H", ("L",), None, 8, np.array([0.5]), masked, sums, {"L": sums["L"]}, sums["H"]
    )
    row = tables.loss_rows(found, 0)[0] | tables.kl_rows(found, 0)[0]
    assert row["sequences"] == 2
    assert row["ce_nats"] == (3 + 1) / 2 and row["kl_nats"] == (3 + 1) / 2
    assert row["loss_diff_nats"] == (2 - 1) / 2 and row["loss_abs_diff_nats"] == (2 + 1) / 2


def test_nothing_masked_at_all_is_no_number():
    zero = np.zeros((1, 3, 1))
    found = Measurements(
        "H", ("L",), None, 8, np.array([0.1]), zero, {"H": zero, "L": zero}, {"L": zero}, zero
    )
    row = tables.kl_rows(found, 0)[0]
    assert np.isnan(row["kl_nats"]) and row["sequences"] == 0


def test_repeats_average_within_a_sequence_first():
    masked = np.array([[[1, 3], [0, 2]]])
    sums = np.array([[[4.0, 6.0], [0.0, 10.0]]])
    found = Measurements("H", (), None, 8, np.array([0.5]), masked, {"H": sums}, {}, sums)
    assert found.per_sequence(sums).tolist() == [
        [(4 + 2) / 2, 5]
    ]  # the repeat with nothing masked is left out
    assert found.per_token(sums).tolist() == [[10 / 4, 5]] and found.tokens.tolist() == [[4, 2]]


def test_repeats_are_separate_corruptions_of_the_same_sequences(three):
    inputs = some_inputs(23, repeats=2)
    both = measured(three, inputs)
    for repeat in range(2):
        alone = measured(three, FixedInputs(inputs.tokens, inputs.uniforms[repeat : repeat + 1]))
        assert np.array_equal(both.kl["light"][..., repeat], alone.kl["light"][..., 0])


# ---- one pass ----


class Fake(FakeDenoiser):
    """A fake whose rows a projection can take: the mask token's logit is left to what excludes
    it.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.table[..., self.mask_id] = 0.0

    def logits(self, rows):
        return rows.index_fill(-1, torch.tensor(self.mask_id), -torch.inf)


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
    few = measured(three, inputs)
    many = measure.measure(more, "heavy", ("deep", "light"), "seed2", inputs, TIMES, 0)
    assert np.array_equal(few.entropy, many.entropy) and np.array_equal(few.masked, many.masked)
    for name in three:
        assert np.array_equal(few.ce[name], many.ce[name])
        assert name == "heavy" or np.array_equal(few.kl[name], many.kl[name])


def test_a_model_does_not_differ_from_itself(three):
    models = {"heavy": three["heavy"], "light": three["heavy"]}
    found = measure.measure(models, "heavy", ("light",), None, some_inputs(23), TIMES, 0)
    assert found.kl.keys() == {"light"} and np.abs(found.kl["light"]).max() <= 1e-6
    assert all(row["loss_abs_diff_nats"] == 0 for row in tables.loss_rows(found, 0))


def test_the_batch_size_does_not_matter(three):
    one, other = (measured(three, some_inputs(23), batch_size=size) for size in (20, 7))
    assert np.array_equal(one.masked, other.masked)
    np.testing.assert_allclose(one.kl["light"], other.kl["light"], rtol=1e-5)


def test_a_baseline_of_the_same_weights_is_refused(three):
    models = three | {"copy": three["heavy"]}
    with pytest.raises(StepimpError, match="Baseline copy holds the same weights as heavy"):
        measure.measure(models, "heavy", ("light",), "copy", some_inputs(23), TIMES, 0)


# ---- what a run leaves ----


@pytest.mark.parametrize("finished", [1, 2, 3])
def test_a_killed_run_goes_on_and_ends_with_the_same_rows(three, tmp_path, finished):
    class Killed(Exception):
        pass

    def kill(done, total):
        if done >= 5 * finished:
            raise Killed

    inputs, path = some_inputs(23, repeats=2), tmp_path / "kl.journal"
    whole = measured(three, inputs, batch_size=5)
    with pytest.raises(Killed):
        measured(three, inputs, batch_size=5, journal=Journal(path, "key"), progress=kill)
    drawn = []
    inputs.draw = lambda *unit: drawn.append(unit) or FixedInputs.draw(inputs, *unit)
    resumed = measured(three, inputs, batch_size=5, journal=Journal(path, "key"))
    assert len(drawn) == 2 * (4 - finished)
    assert tables.kl_rows(resumed, 0) == tables.kl_rows(whole, 0)
    assert resumed.pack() == whole.pack()


def test_measurements_survive_the_document(three):
    found = measured(three, some_inputs(23))
    again = Measurements.unpack({"measurements": found.pack()})
    assert tables.kl_rows(again, 0) == tables.kl_rows(found, 0) and again.pack() == found.pack()


@pytest.mark.parametrize("document", [{}, {"measurements": {"heavy": "H"}}, {"measurements": 3}])
def test_a_document_without_curves_is_refused(document):
    with pytest.raises(StepimpError, match="loss.json holds no curves"):
        Measurements.unpack(document | {"path": "loss.json"})


# ---- bands ----


def test_until_stops_at_the_first_chunk_that_is_narrow_enough(three):
    inputs = some_inputs(23, n=60)
    widths = {}
    for n in (20, 30, 40, 50, 60):
        widths[n] = tables.widest_band(
            measured(three, FixedInputs(inputs.tokens[:n], inputs.uniforms[:, :n])), 0
        )
    for aim in (widths[20], widths[40]):
        expected = next(n for n, width in widths.items() if width <= aim)
        assert measured(three, inputs, batch_size=10, until=aim).sequences == expected < 60
    assert measured(three, inputs, batch_size=10, until=1e-9).sequences == 60


def test_the_width_is_that_of_the_widest_band_of_the_relative_kl(three):
    found = measured(three, some_inputs(23))
    halves = [
        (row["relative_kl_nats_high"] - row["relative_kl_nats_low"]) / 2
        for row in tables.kl_rows(found, 0)
    ]
    assert tables.widest_band(found, 0) == pytest.approx(max(halves))


def test_bands_agree_with_scipys_bootstrap():
    values = np.random.default_rng(1).exponential(size=(1, 80))
    _, low, high = bands(resampled_means(values, 0, resamples=20_000))
    scipys = stats.bootstrap(
        (values[0],), np.mean, n_resamples=20_000, method="percentile", rng=0
    ).confidence_interval
    width = scipys.high - scipys.low
    assert low[0] == pytest.approx(scipys.low, abs=0.03 * width) and high[0] == pytest.approx(
        scipys.high, abs=0.03 * width
    )


def test_bands_cover_the_truth_as_often_as_they_say():
    """2000 data sets of 100 sequences, a tenth of them left out: 95% of the bands hold the mean,
    give or take 1.5%.
    """
    draw = np.random.default_rng(2)
    values = np.where(
        draw.random((2000, 100)) < 0.1, np.nan, draw.normal(3.0, 1.0, size=(2000, 100))
    )
    _, low, high = bands(resampled_means(values, 0))
    assert 0.935 <= ((low <= 3.0) & (high >= 3.0)).mean() <= 0.965


def test_bands_of_weighted_means_cover_the_ratio_of_expectations():
    """Token-weighted: sequences with more masked tokens count more, and have other means."""
    draw = np.random.default_rng(3)
    weights = draw.integers(0, 5, size=(2000, 100)).astype(float)
    values = weights + draw.normal(size=weights.shape)
    truth = np.mean(np.arange(5.0) ** 2) / np.mean(np.arange(5.0))
    point, low, high = bands(resampled_means(values, 0, weights))
    assert point.mean() == pytest.approx(truth, abs=0.02)
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97


def test_resamples_are_shared_by_all_statistics():
    values = np.random.default_rng(4).normal(size=(1, 30))
    both = resampled_means(np.concatenate([values, values + 2.5]), 0)
    np.testing.assert_allclose(both[1] - both[0], 2.5)
    assert not np.array_equal(resampled_means(values, 0), resampled_means(values, 1))


# ---- where inputs come from ----


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
    for one, other in itertools.combinations(different, 2):
        assert not torch.equal(one[1], other[1])


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
