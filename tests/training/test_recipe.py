from dataclasses import replace

import pytest

from stepimp.training.recipe import Recipe

COSINE = Recipe(100, 4, muon_lr=0.02, adamw_lr=0.01, warmup=10, ema=0.9, save_every=10)
TRAPEZOID = replace(COSINE, schedule="trapezoid")


@pytest.mark.parametrize("recipe", [COSINE, TRAPEZOID])
def test_the_rate_warms_up_and_ends_near_zero(recipe):
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01) and max(rates) == pytest.approx(1, abs=0.03)
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.06
    assert recipe.rate(100) == pytest.approx(0, abs=1e-12)


def test_a_trapezoid_is_flat_until_its_last_fifth():
    assert TRAPEZOID.stable_step == 80
    assert [TRAPEZOID.rate(step) for step in (9, 50, 80)] == [1, 1, 1]
    assert [TRAPEZOID.rate(step) for step in (85, 90, 95)] == pytest.approx([0.75, 0.5, 0.25])


def test_a_longer_trapezoid_has_the_same_rates_up_to_the_end_of_the_shorter_plateau():
    longer = replace(TRAPEZOID, steps=300)
    assert all(longer.rate(step) == TRAPEZOID.rate(step) for step in range(81))


def test_what_may_change_in_an_unfinished_training():
    assert replace(COSINE, save_every=3, snapshot_every=5, weights="float16").continues(COSINE)
    assert not replace(COSINE, muon_lr=0.1).continues(COSINE)
    assert not replace(COSINE, steps=200).continues(COSINE)
    assert replace(TRAPEZOID, steps=200).continues(TRAPEZOID)
    assert not replace(TRAPEZOID, steps=50).continues(TRAPEZOID)
