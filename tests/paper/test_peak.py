"""What is said of a curve's peak."""

import pytest
from by_hand import curve_rows, hill

from stepimp.paper.peak import peak_statement

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def rows_of(shape, column="relative_kl_nats", model="4b", **options):
    return curve_rows([column], shape, [model], TIMES, **options)


def statement(shape, **options):
    return peak_statement(rows_of(shape, **options))


def test_a_peak_in_the_middle_is_said():
    assert (
        statement(hill)
        == "As the paper claims, the relative KL peaks in the middle for 4b (t = 0.5)."
    )


@pytest.mark.parametrize("shape", [lambda t: t, lambda t: -t, lambda t: 0.0])
def test_no_peak_is_claimed_for_a_curve_that_has_none(shape):
    assert statement(shape).startswith("No peak in the middle is resolved in the relative KL of 4b")


def test_a_peak_lost_in_its_band_is_not_claimed():
    assert statement(hill, half=0.34).startswith("As the paper claims")
    assert statement(hill, half=0.36).startswith("No peak in the middle is resolved")
    rows = [row | {"relative_kl_nats_low": None} for row in rows_of(hill)]
    assert peak_statement(rows).startswith("No peak in the middle")


def test_the_peak_must_stand_above_both_ends():
    assert statement(lambda t: hill(t) + (t == 1.0) * 0.9, half=0.1).startswith(
        "No peak in the middle is resolved"
    )
    assert statement(lambda t: hill(t) + (t == 0.1) * 0.6, half=0.1).startswith(
        "No peak in the middle is resolved"
    )


def test_a_peak_elsewhere_is_called_elsewhere():
    said = statement(lambda t: 1.0 - abs(t - 0.7) * 3)
    assert (
        said
        == "The relative KL peaks above both ends, but outside the paper's t = 0.4 to 0.6, for 4b "
        "(t = 0.7)."
    )


def test_each_model_gets_its_own_verdict():
    rows = rows_of(hill, "loss_abs_diff_nats") + rows_of(lambda t: t, "loss_abs_diff_nats", "8b")
    assert peak_statement(rows) == (
        "As the paper claims, the absolute loss difference peaks in the middle for 4b (t = 0.5). "
        "No peak in the middle is resolved in the absolute loss difference of 8b (t = 1); "
        "in brackets, where it is largest."
    )
