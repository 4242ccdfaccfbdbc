import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stepimp.sampling import cost, profile, sampler
from stepimp.schedules.schedule import Schedule


@pytest.mark.parametrize("rows", [1, 5])
def test_flops_are_those_torch_counts(random_model, rows):
    model = random_model(
        n_blocks=3, attn_implementation="eager"
    )  # torch does not count its fused attention on a CPU
    z = torch.zeros(1, 16, dtype=torch.long)
    at = torch.arange(rows)[None]
    model._constant = model.modulations(None)  # folded: not part of a step
    with (
        FlopCounterMode(display=False) as counted,
        torch.enable_grad(),
    ):  # oneDNN's operators are not in its table
        model.logits(model.hidden(z, None, at)[0])
    forward, row = model.flops(16)
    assert counted.get_total_flops() == forward + rows * row


def test_a_profile_accounts_for_all_the_time(random_model):
    denoisers = {
        "h": random_model(1, n_blocks=2).freeze(),
        "l": random_model(2, n_blocks=1).freeze(),
    }
    options = profile.ProfileOptions(
        heavy="h",
        light="l",
        steps=40,
        samples=3,
        batch_size=2,
        points=3,
        repeats=1,
        schedule="L5,H30,L5",
    )
    rows = profile.timing_rows(denoisers, {"h": 2, "l": 1}, options, 8)
    for way in ("stepimp", "published"):
        for model in ("h", "l"):
            parts = [row for row in rows if row.get("sampler") == way and row["model"] == model]
            assert [row["part"] for row in parts] == list(profile.PARTS)
            assert sum(row["share"] for row in parts) == pytest.approx(1)
            outside = 1 - parts[0]["share"]
            assert parts[0]["speedup_bound"] == pytest.approx(1 / outside)
    savings = {row["schedule"]: row for row in rows if row["kind"] == "saving"}
    assert list(savings) == ["H40", "L10,H20,L10", "L40", "L5,H30,L5"]
    assert savings["L40"]["saved_flops"] == 0.5
    assert savings["H40"]["saved_flops_exact"] == 0
    assert 0 < savings["L10,H20,L10"]["saved_flops_exact"] < savings["L40"]["saved_flops_exact"]
    assert all(row["sample_steps"] == 120 and row["forwards"] < 120 for row in savings.values())


def test_exact_flops_follow_the_counts(random_model):
    denoisers = {"h": random_model(1).freeze(), "l": random_model(2, n_blocks=1).freeze()}
    counts = sampler.Counts()
    sampler.sample(denoisers, Schedule.of(["l"] * 10), range(2), 8, seed=0, counts=counts)
    forward, row = denoisers["l"].flops(8)
    expected = counts.forwards["l"] * forward + 2 * 8 * row
    assert cost.exact_flops(denoisers, counts, 8) == expected
