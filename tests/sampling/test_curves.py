"""Warnings for models that saw few masks in training, and curves measured where none match."""

import pytest
from fakes import FakeDenoiser

from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions
from stepimp.sampling.curves import curves_for, warn_of_times


def family_trained_on(shares: dict[str, float]) -> Family:
    """Models that saw at most these shares of the tokens masked in training."""
    denoisers = {}
    for name, share in shares.items():
        denoisers[name] = FakeDenoiser()
        denoisers[name].trained_masking = share
    return Family(denoisers, tokenizer=None)


@pytest.mark.parametrize(
    "shares, warnings",
    [
        ({"a": 1.0, "b": 1.0}, []),
        ({"a": 1.0, "b": 0.3}, [("b", "30%", "0.3")]),
        ({"a": 0.9, "b": 0.3}, [("a", "90%", "0.9"), ("b", "30%", "0.3")]),
        ({"a": 0.15, "b": 1.0, "c": 0.15}, [("a, c", "15%", "0.15")]),
    ],
)
def test_each_model_is_warned_of_by_its_own_share_of_masks(caplog, shares, warnings):
    warn_of_times(family_trained_on(shares))
    assert caplog.messages == [
        f"Warning: {names} saw at most {percent} of the tokens masked in training: what the "
        f"curves have at t above {time} is outside of it."
        for names, percent, time in warnings
    ]


@pytest.mark.parametrize(
    "heavy, lights, baseline",
    [(None, (), "2b_seed2"), ("1b", ("2b",), None), ("2b", ("1b", "2b_seed2"), None)],
)
def test_curves_that_are_missing_are_measured_with_the_defaults(
    tiny_family, tmp_path, heavy, lights, baseline
):
    models = ModelOptions(family=str(tiny_family), dtype="float64", seed=7, out=str(tmp_path))
    options = curves_for("kl", heavy, lights, models, vars)
    assert (options["heavy"], options["lights"]) == (heavy or "2b", lights or ("1b",))
    assert options["baseline"] == baseline
    assert (options["dtype"], options["seed"], options["sequences"]) == ("float64", 0, 200)
