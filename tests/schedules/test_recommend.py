"""Predictions against exact enumeration, and the optimiser against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from fakes import FakeDenoiser, exact_distribution

from stepimp.curves import measure, tables
from stepimp.curves.inputs import TextInputs
from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.sampling.trajectories import SampleInputs
from stepimp.schedules import costs, recommend
from stepimp.schedules.frontier import Frontier
from stepimp.schedules.schedule import Schedule, parse

# ---- what a schedule costs ----


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
    """Two denoisers small enough to enumerate, and what is measured on 3000 of the heavy one's own
    samples.
    """
    denoisers = {"heavy": Fake(seed=1), "light": Fake(seed=2)}
    inputs = SampleInputs(denoisers, "heavy", 3000, 3, seed=0, steps=4)
    return denoisers, measure.measure(
        denoisers, "heavy", ("light",), None, inputs, measure.time_grid(4), 0, batch_size=500
    )


@pytest.mark.parametrize("notation", ["L4", "L1,H3", "H3,L1", "L1,H2,L1", "H1,L2,H1"])
def test_on_the_heavy_models_own_samples_the_path_kl_is_exact(enumerable, notation):
    denoisers, found = enumerable
    schedule = parse(notation, "heavy", "light")
    exact, states = exact_path_kl(denoisers, schedule, 3)
    row = costs.predict(found, [schedule], "kl", 0)[0]
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
    """A model that learned to look for the favourite, so that its cross-entropy depends on t; and
    such text.
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
    found = measure.measure(
        {"heavy": model},
        "heavy",
        (),
        None,
        TextInputs(text, 0, model.noise),
        measure.time_grid(25),
        0,
    )
    row = costs.predict(found, [Schedule.of(["heavy"] * 1000)], "nelbo", 0)[0]
    own = [evaluate_nelbo(model, part) for part in text.split(30)]
    own_error = np.std(own, ddof=1) / len(own) ** 0.5
    error = math.hypot(own_error, (row["nelbo_nats_high"] - row["nelbo_nats_low"]) / 4)
    assert row["nelbo_nats"] == pytest.approx(np.mean(own), abs=3 * error)
    ce = costs.mean_curves(found, "nelbo", 0)["heavy"][:, 0]
    assert ce[-1] > 1.2 * ce[2] and 3 * error < 0.15 * np.mean(
        own
    )  # the curve is no constant, and the error small


def by_hand(heights, n=4, seed=0, baseline=None, points=5, length=10):
    """Measurements with KL(heavy || m) = heights[m](t) + noise and CE = 1 + t + KL."""
    draw, times = np.random.default_rng(seed), measure.time_grid(points)
    masked = draw.integers(1, length, size=(points, n, 1)).astype(float)
    kl = {
        m: masked * (height(times)[:, None, None] + 0.05 * draw.random((points, n, 1)))
        for m, height in heights.items()
    }
    ce = {"heavy": masked * (1 + times[:, None, None])}
    ce |= {m: ce["heavy"] + one for m, one in kl.items()}
    lights = tuple(m for m in heights if m != baseline)
    return Measurements("heavy", lights, baseline, length, times, masked, ce, kl, ce["heavy"])


def middle(t):
    return np.sin(np.pi * t)


def test_a_schedules_cost_is_the_token_weighted_mean_over_its_steps():
    """Formulas (9) and (10) by plain loops, with T = the number of times, so that nothing is
    interpolated.
    """
    found = by_hand({"a": middle, "b": np.square, "seed2": np.zeros_like}, baseline="seed2")
    schedule = parse("a:1,heavy:2,b:2", "heavy")
    row = costs.predict(found, [schedule], "kl", 0)[0]
    path = nelbo = relative = 0.0
    for i in range(1, 6):
        name, step = schedule.by_step()[i - 1], i - 1
        tokens = found.masked[step].sum()
        nelbo += found.ce[name][step].sum() / tokens / 5
        if name != "heavy":
            path += found.kl[name][step].sum() / tokens / 5
            relative += (found.kl[name][step] - found.kl["seed2"][step]).sum() / tokens / 5
    assert [row["path_kl_nats"], row["nelbo_nats"], row["objective"]] == pytest.approx(
        [path, nelbo, relative]
    )


def test_the_nelbo_of_each_model_and_its_paired_differences():
    """By plain loops with T = the number of times; each model is compared with the heavy and with
    the next deeper one.
    """
    found = by_hand({"a": middle, "b": np.square, "seed2": np.zeros_like}, baseline="seed2")
    rows = tables.nelbo_rows(found, {"a": 2, "b": 4, "heavy": 6, "seed2": 6}, 0, steps=5)
    assert [(row["model"], row["deeper"]) for row in rows] == [
        ("a", "b"),
        ("b", "heavy"),
        ("heavy", None),
        ("seed2", None),
    ]
    plain = {
        m: np.mean([found.ce[m][i].sum() / found.masked[i].sum() for i in range(5)])
        for m in found.ce
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


@pytest.mark.parametrize("by", recommend.OBJECTIVES)
def test_the_optimiser_minimises_what_is_reported(by):
    found = by_hand({"a": middle, "b": np.square})
    rows = recommend.recommend(
        found, {"heavy": 4, "a": 1, "b": 2}, 0.4, steps=10, by=by, save_flops=True, segments=4
    )["rows"]
    means = {model: np.nanmean(values, 1) for model, values in costs.cost_curves(found, by).items()}
    if by != "loss":  # token-weighted
        weights = found.tokens / found.tokens.sum(1, keepdims=True)
        means = {
            model: np.nansum(values * weights, 1)
            for model, values in costs.cost_curves(found, by).items()
        }
    models = parse(rows[0]["schedule"], "heavy").by_step()
    step_costs = [
        np.interp((i + 1) / 10, found.times, means[model]) for i, model in enumerate(models)
    ]
    assert rows[0]["objective"] == pytest.approx(np.mean(step_costs))
    assert rows[0]["objective_low"] <= rows[0]["objective"] <= rows[0]["objective_high"]
    best = min(
        sum(np.interp((i + 1) / 10, found.times, means[m]) for i, m in enumerate(choice)) / 10
        for choice in every_schedule(["heavy", "a", "b"], 10, 4)
        if sum({"heavy": 0, "a": 3, "b": 2}[m] for m in choice) >= 0.4 * 40
    )
    assert rows[0]["objective"] == pytest.approx(best)


# ---- the optimiser ----


def every_schedule(models, steps, segments, shortest=1):
    """Lists of one model per step with at most so many segments, none shorter than `shortest`."""
    for choice in itertools.product(models, repeat=steps):
        runs = [len(list(run)) for _, run in itertools.groupby(choice)]
        if len(runs) <= segments and min(runs) >= shortest:
            yield choice


@pytest.mark.parametrize(
    "gains", [{"h": 0, "a": 1}, {"h": 0, "a": 1, "b": 2}, {"h": 0, "a": 2, "b": 2, "c": 3}], ids=len
)
@pytest.mark.parametrize(
    "segments, shortest", [(1, 1), (2, 1), (3, 1), (3, 2), (6, 1), (2, 3), (3, 6)]
)
def test_the_frontier_equals_brute_force(gains, segments, shortest):
    steps = 6 if len(gains) > 3 else 7
    draw = np.random.default_rng(segments * 10 + shortest)
    table_costs = {m: draw.normal(size=(2, steps)) for m in gains}
    frontier = Frontier(table_costs, gains, segments, shortest)
    for table in range(2):
        best = {}
        for choice in every_schedule(gains, steps, segments, shortest):
            saving = sum(gains[m] for m in choice)
            cost = sum(table_costs[m][table, i] for i, m in enumerate(choice))
            best[saving] = min(best.get(saving, math.inf), cost)
        expected = [best.get(saving, math.inf) for saving in range(steps * max(gains.values()) + 1)]
        assert frontier.cost[table] == pytest.approx(expected)
        for saving, cost in best.items():
            schedule = frontier.best(saving, table)
            models = schedule.by_step()[::-1]
            assert tuple(models) in set(every_schedule(gains, steps, segments, shortest))
            assert sum(gains[m] for m in models) == saving
            assert sum(table_costs[m][table, i] for i, m in enumerate(models)) == pytest.approx(
                cost
            )


def test_a_saving_nothing_can_reach_is_an_error():
    frontier = Frontier(
        {"h": np.zeros((1, 6)), "a": np.ones((1, 6))}, {"h": 0, "a": 1}, segments=2, shortest=3
    )
    assert np.isfinite(frontier.cost[0]).tolist() == [True, False, False, True, False, False, True]
    with pytest.raises(StepimpError, match="allow more or shorter segments"):
        frontier.best(2)


# ---- recommendations ----

BLOCKS = {"heavy": 4, "a": 1, "b": 2}


def advise(heights=None, budget=0.25, **options):
    heights = heights or {"a": middle}
    return recommend.recommend(
        by_hand(heights, n=30, points=20),
        {m: BLOCKS[m] for m in ("heavy", *heights)},
        budget,
        **{"steps": 100} | options,
    )


def test_a_peak_in_the_middle_gives_the_sandwich():
    rows = advise()["rows"]
    same_budget = [row["name"] for row in rows if row["light_fraction"] == pytest.approx(0.25)]
    assert same_budget[:2] == ["recommended", "sandwich"]
    assert [row["rank"] for row in rows] == list(range(1, 9))
    light, heavy, last = parse(rows[0]["schedule"], "heavy", "a").segments
    assert heavy == ("heavy", 75) and abs(light[1] - last[1]) <= 2


def test_the_light_fraction_is_met_exactly_and_saved_flops_at_least():
    assert advise(budget=0.37)["rows"][0]["light_fraction"] == pytest.approx(0.37)
    row = advise({"a": middle, "b": np.square}, budget=0.3, save_flops=True, segments=5)["rows"][0]
    assert row["saved_flops"] + 1e-9 >= 0.3 and row["saved_flops"] < 0.31
    count = dict.fromkeys(BLOCKS, 0)
    for model, steps in parse(row["schedule"], "heavy").segments:
        count[model] += steps
    assert row["saved_flops"] == pytest.approx(
        1 - sum(BLOCKS[m] * n for m, n in count.items()) / 400
    )


def test_the_sandwich_beside_it_saves_as_much():
    found = advise({"a": middle, "b": np.square}, budget=0.3, save_flops=True, segments=5)
    saved = {row["name"]: row["saved_flops"] for row in found["rows"]}
    assert 0 <= saved["sandwich"] - saved["recommended"] < 0.0076  # a step of the shallowest


def test_segments_and_their_length_are_limits():
    assert len(parse(advise(segments=2)["rows"][0]["schedule"], "heavy", "a").segments) <= 2
    segments = parse(advise(shortest=20)["rows"][0]["schedule"], "heavy", "a").segments
    assert min(count for _, count in segments) >= 20


@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_the_ends_of_the_budget(budget):
    found = advise(budget=budget)
    assert found["rows"][0]["schedule"] == ("H100", "L100")[int(budget)]
    assert found["boundaries"]["moves"] == []


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"segments": 1},
            "budget of 0.25 cannot be met within the limits; the nearest that can: 0, 1",
        ),
        (
            {"budget": 0.9, "save_flops": True},
            "budget of 0.9 cannot be met within the limits; the nearest that can: 0.75, 0.75",
        ),
        ({"shortest": 101}, "Segments of at least 101 steps do not fit into T = 100"),
        (
            {"shortest": 30},
            "budget of 0.25 cannot be met within the limits; the nearest that can: 0, 0.3",
        ),
    ],
)
def test_a_budget_out_of_reach_names_the_nearest(options, message):
    with pytest.raises(StepimpError, match=message):
        advise(**options)


def test_no_light_model_is_shallower():
    with pytest.raises(StepimpError, match="No light model is shallower than heavy"):
        recommend.recommend(
            by_hand({"a": middle}), {"heavy": 4, "a": 4}, 0.25, save_flops=True, steps=10
        )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_few_steps(steps):
    found = advise(budget=1 / steps, steps=steps)
    assert found["rows"][0]["light_fraction"] == pytest.approx(1 / steps)
    assert len(found["tradeoff"]) == steps + 1


def test_the_tradeoff_goes_from_nothing_to_all_and_holds_the_recommendation():
    found = advise()
    line = found["tradeoff"]
    assert len(line) == 41 and [line[0]["schedule"], line[-1]["schedule"]] == ["H100", "L100"]
    assert [row["light_fraction"] for row in line] == pytest.approx(
        np.linspace(0, 1, 41), abs=0.0051
    )
    at_budget = next(row for row in line if row["light_fraction"] == pytest.approx(0.25))
    same = ("schedule", "objective", "objective_low", "path_kl_nats", "nelbo_nats_high")
    assert [at_budget[name] for name in same] == [found["rows"][0][name] for name in same]
    objectives = {row["light_fraction"]: row["objective"] for row in line}
    for row in found["rows"]:  # nothing lies below the line
        assert (
            row["objective"]
            >= np.interp(row["light_fraction"], list(objectives), list(objectives.values())) - 1e-12
        )


def test_boundaries_that_the_sequences_do_not_determine_move_far():
    """A peak of one height in all sequences against one whose place differs from sequence to
    sequence.
    """
    times, draw = measure.time_grid(20), np.random.default_rng(0)
    masked = np.full((20, 12, 1), 5.0)
    ranges = {}
    for name, spread in (("sure", 0.0), ("unsure", 0.3)):
        place = 0.5 + spread * draw.uniform(-1, 1, size=12)
        kl = masked * np.exp(-(((times[:, None] - place) / 0.1) ** 2))[..., None]
        found = Measurements(
            "heavy",
            ("a",),
            None,
            10,
            times,
            masked,
            {"heavy": masked, "a": masked + kl},
            {"a": kl},
            masked,
        )
        moved = recommend.recommend(found, {"heavy": 4, "a": 1}, 0.6, steps=1000)["boundaries"]
        assert [(one["before"], one["after"]) for one in moved["moves"]] == [
            ("a", "heavy"),
            ("heavy", "a"),
        ]
        assert all(
            one["t_low"] - 0.006 <= one["t"] <= one["t_high"] + 0.006 for one in moved["moves"]
        )
        ranges[name] = max(one["t_high"] - one["t_low"] for one in moved["moves"])
        assert 0.5 < moved["agreement"] <= 1
    assert ranges["sure"] <= 0.02 < 0.06 < ranges["unsure"]


def test_boundaries_lie_where_the_segments_meet():
    assert recommend.boundary_times(parse("L10,H60,L30", "heavy", "a")) == pytest.approx([0.9, 0.3])


def test_boundaries_no_resample_agrees_with_have_no_range():
    found = by_hand({"a": middle}, n=30)
    means = costs.mean_curves(found, "kl", 0)
    odd = parse("H30,L10,H60", "heavy", "a")
    moved = recommend.boundaries(odd, means, found.times, {"heavy": 0, "a": 1}, 10, 3, 1)
    assert moved["agreement"] == 0 and all(math.isnan(one["t_low"]) for one in moved["moves"])


def test_a_time_at_which_nothing_is_masked_is_named_before_anything_is_optimised():
    zero = np.zeros((1, 3, 1))
    found = Measurements(
        "heavy",
        ("a",),
        None,
        8,
        np.array([1.0]),
        zero,
        {"heavy": zero, "a": zero},
        {"a": zero},
        zero,
    )
    with pytest.raises(StepimpError, match="no sequence has a masked token"):
        recommend.recommend(found, {"heavy": 4, "a": 1}, 0.25, steps=10, by="loss")


def test_several_light_models_are_written_by_name_and_one_by_letter():
    two = advise({"a": middle, "b": np.square}, save_flops=True)["rows"]
    assert all(set(row["schedule"]).isdisjoint("HL") for row in two)
    assert all(set(row["schedule"]) <= set("HL,0123456789") for row in advise()["rows"])


def test_a_document_with_fewer_light_models_than_asked_for():
    found = by_hand({"a": middle})
    document = {
        "measurements": found.pack(),
        "params": {"seed": 0},
        "blocks": BLOCKS,
        "path": "kl.json",
    }
    with pytest.raises(StepimpError, match="kl.json has no curve of 'b', only of a"):
        recommend.recommend_from(document, ["b"], 0.25)
    advice = recommend.recommend_from(document, ["a"], 0.25, steps=20)
    assert advice["curves"][0].keys() >= {
        "kl_nats",
        "kl_nats_low",
        "loss_abs_diff_nats",
        "t",
        "model",
        "sequences",
    }


def test_the_schedules_that_are_verified():
    rows = advise()["rows"]
    names = [row["name"] for row in recommend.schedules_to_verify(rows)]
    quarters = {row["name"]: row["objective"] for row in rows if "quarter" in row["name"]}
    assert sorted(names) == sorted(
        ["recommended", "sandwich", "all-heavy", max(quarters, key=quarters.get)]
    )
