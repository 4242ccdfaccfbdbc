"""What a schedule costs, against exact enumeration and plain loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from by_hand import hill, measured_curves
from fakes import FakeDenoiser, exact_distribution

from stepimp.curves import measure, tables
from stepimp.curves.inputs import TextInputs
from stepimp.sampling.trajectories import SampleInputs
from stepimp.schedules import costs
from stepimp.schedules.costs import saved_units
from stepimp.schedules.schedule import Schedule, parse


class Fake(FakeDenoiser):
    """A fake whose rows a projection can take: the mask token's logit is left to what excludes
    it.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.table[..., self.mask_id] = 0.0

    def hidden(self, z, t=None, at=None):
        rows = super().hidden(z, t, at)
        return rows if t is not None or at is not None else self.logits(rows)

    def logits(self, rows):
        return rows.index_fill(-1, torch.tensor(self.mask_id), -torch.inf)


def step_kernel(model, z, i, mask_id):
    """{z': probability} of one denoising step: each masked position unmasks with probability 1/i
    and is then drawn.
    """
    p = model.logits(model.hidden(torch.tensor([z]), torch.tensor([0.0])))[0].softmax(-1).numpy()
    choices = [
        [(token, 1.0)]
        if token != mask_id
        else [(mask_id, 1 - 1 / i), *((new, p[j, new] / i) for new in range(mask_id))]
        for j, token in enumerate(z)
    ]
    after = {}
    for choice in itertools.product(*choices):
        if (mass := math.prod(weight for _, weight in choice)) > 0:
            after[tuple(token for token, _ in choice)] = mass
    return after


def exact_path_kl(denoisers, schedule, length):
    """KL in nats between the all-heavy chain and the schedule's, by the chain rule over steps, and
    the heavy chain's distribution at the end."""
    mask_id = denoisers["heavy"].mask_id
    states, total = {(mask_id,) * length: 1.0}, 0.0
    for i, name in zip(range(schedule.steps, 0, -1), reversed(schedule.by_step())):
        after = {}
        for z, mass in states.items():
            heavy, other = (
                step_kernel(denoisers[model], z, i, mask_id) for model in ("heavy", name)
            )
            for new, p in heavy.items():
                total += mass * p * math.log(p / other[new])
                after[new] = after.get(new, 0.0) + mass * p
        states = after
    return total, states


@pytest.fixture(scope="module")
def enumerable():
    """Two denoisers small enough to enumerate, measured on 3000 samples of the heavy one."""
    denoisers = {"heavy": Fake(seed=1), "light": Fake(seed=2)}
    inputs = SampleInputs(denoisers, "heavy", 3000, 3, seed=0, steps=4)
    return denoisers, measure.measure(
        denoisers, "heavy", ("light",), None, inputs, measure.time_grid(4), 0, batch_size=500
    )


@pytest.mark.parametrize("notation", ["L4", "L1,H3", "H3,L1", "L1,H2,L1", "H1,L2,H1"])
def test_on_the_heavy_models_own_samples_the_path_kl_is_exact(enumerable, notation):
    denoisers, measurements = enumerable
    schedule = parse(notation, "heavy", "light")
    exact, states = exact_path_kl(denoisers, schedule, 3)
    row = costs.predict(measurements, [schedule], "kl", 0)[0]
    error = (row["path_kl_nats_high"] - row["path_kl_nats_low"]) / 2 / 1.96
    assert 3 * row["path_kl_nats"] == pytest.approx(exact, rel=1e-6, abs=3 * 3.3 * error)
    assert 3 * 3.3 * error < 0.1 * exact  # and that says something
    # The enumeration itself agrees with the sampler's, and the path KL bounds the KL between the
    # generated texts.
    heavy, other = (
        exact_distribution(plain(denoisers), plan, 3) for plan in (parse("H4", "heavy"), schedule)
    )
    assert states == pytest.approx(heavy)
    between_texts = sum(p * math.log(p / other[tokens]) for tokens, p in heavy.items() if p > 0)
    assert 0 < between_texts <= exact


def plain(denoisers):
    """The same denoisers as `exact_distribution` takes them."""
    fakes = {name: FakeDenoiser(seed=seed) for seed, name in ((1, "heavy"), (2, "light"))}
    for name, fake in fakes.items():
        assert torch.equal(fake.table[..., :-1], denoisers[name].table[..., :-1])
    return fakes


def favourites(n):
    """[n, 16] sequences of 8 tokens, each with a favourite that seven in ten of its tokens are."""
    return torch.where(
        torch.rand(n, 16) < 0.7, torch.randint(0, 8, (n, 1)), torch.randint(0, 8, (n, 16))
    )


@pytest.fixture(scope="module")
def learned(random_model):
    """A model that learned to look for the favourite, so that its cross-entropy depends on t, and
    text of this kind.
    """
    from stepimp.training.objective import nelbo_loss

    torch.manual_seed(0)
    model = random_model(0, vocab_size=9, n_blocks=1, model_length=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss = nelbo_loss(model, favourites(32), torch.rand(32).clamp_min(0.05), torch.rand(32, 16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False), favourites(240)


def test_the_nelbo_of_all_heavy_is_the_models_own_loss(learned):
    from stepimp.training.objective import evaluate_nelbo

    model, text = learned
    measurements = measure.measure(
        {"heavy": model},
        "heavy",
        (),
        None,
        TextInputs(text, 0, model.noise),
        measure.time_grid(25),
        0,
    )
    row = costs.predict(measurements, [Schedule.of(["heavy"] * 1000)], "nelbo", 0)[0]
    losses = [evaluate_nelbo(model, part) for part in text.split(30)]
    loss_error = np.std(losses, ddof=1) / len(losses) ** 0.5
    error = math.hypot(loss_error, (row["nelbo_nats_high"] - row["nelbo_nats_low"]) / 4)
    assert row["nelbo_nats"] == pytest.approx(np.mean(losses), abs=3 * error)
    ce = costs.mean_curves(measurements, "nelbo", 0)["heavy"][:, 0]
    assert ce[-1] > 1.2 * ce[2] and 3 * error < 0.15 * np.mean(
        losses
    )  # the curve is not constant, and the error is small


def test_a_schedules_cost_is_the_token_weighted_mean_over_its_steps():
    """Formulas (9) and (10) by plain loops, with T = the number of times, so that nothing is
    interpolated.
    """
    measurements = measured_curves(
        {"a": hill, "b": np.square, "seed2": np.zeros_like}, baseline="seed2"
    )
    schedule = parse("a:1,heavy:2,b:2", "heavy")
    row = costs.predict(measurements, [schedule], "kl", 0)[0]
    path = nelbo = relative = 0.0
    for i in range(1, 6):
        name, step = schedule.by_step()[i - 1], i - 1
        tokens = measurements.masked[step].sum()
        nelbo += measurements.ce[name][step].sum() / tokens / 5
        if name != "heavy":
            path += measurements.kl[name][step].sum() / tokens / 5
            relative += (
                (measurements.kl[name][step] - measurements.kl["seed2"][step]).sum() / tokens / 5
            )
    assert [row["path_kl_nats"], row["nelbo_nats"], row["objective"]] == pytest.approx(
        [path, nelbo, relative]
    )


def test_the_nelbo_of_each_model_and_its_paired_differences():
    """By plain loops with T = the number of times; each model is compared with the heavy and with
    the next deeper one.
    """
    measurements = measured_curves(
        {"a": hill, "b": np.square, "seed2": np.zeros_like}, baseline="seed2"
    )
    rows = tables.nelbo_rows(measurements, {"a": 2, "b": 4, "heavy": 6, "seed2": 6}, 0, steps=5)
    assert [(row["model"], row["deeper"]) for row in rows] == [
        ("a", "b"),
        ("b", "heavy"),
        ("heavy", None),
        ("seed2", None),
    ]
    plain = {
        m: np.mean([measurements.ce[m][i].sum() / measurements.masked[i].sum() for i in range(5)])
        for m in measurements.ce
    }
    for row in rows:
        assert row["nelbo_nats"] == pytest.approx(plain[row["model"]])
        assert row["nelbo_diff_nats"] == pytest.approx(plain[row["model"]] - plain["heavy"])
        if row["deeper"]:
            assert row["deeper_diff_nats"] == pytest.approx(
                plain[row["model"]] - plain[row["deeper"]]
            )
        assert row["nelbo_diff_nats_low"] <= row["nelbo_diff_nats"] <= row["nelbo_diff_nats_high"]
    assert rows[0]["nelbo_diff_nats_low"] < rows[0]["nelbo_diff_nats"]
    assert (
        rows[2]["nelbo_diff_nats_low"] == rows[2]["nelbo_diff_nats_high"] == 0
    )  # the same resamples in both


def test_costs_without_a_common_unit_are_rounded_down_to_few_units():
    units = saved_units({"heavy": 1000, "a": 237, "b": 455, "c": 999}, "heavy", True)
    assert units == {"heavy": 0, "a": 48, "b": 34, "c": 0}
    assert units["b"] / units["a"] <= (1000 - 455) / (1000 - 237)
    assert saved_units({"heavy": 12, "a": 4, "b": 8}, "heavy", True) == {"heavy": 0, "a": 2, "b": 1}
