"""Which placement of the light steps is better."""

import numpy as np
import pytest
from scipy import stats

from stepimp.quality.paired_statistics import placement_pairs
from stepimp.schedules.schedule import parse


def test_placements_are_pairs_of_as_many_light_steps_and_hold_together():
    texts = {"L2,H6": 0.3, "H6,L2": 0.1, "H3,L2,H3": 0.2, "L4,H4": 0.5, "L8": 0.9, "H8": 0.0}
    noise = np.random.default_rng(0).standard_normal((2, 40))
    each, rows = {}, []
    for text, effect in texts.items():
        plan = parse(text, "2b", "1b")
        each[plan.format()] = {"log_ppl": 3 + noise[0] + effect * (1 + 0.1 * noise[1])}
        light = None if text == "H8" else "1b"
        rows.append(
            {
                "name": text.lower(),
                "schedule": text,
                "light": light,
                "light_fraction": 1 - plan.fraction("2b"),
            }
        )
    pairs = placement_pairs([rows[1], *rows], each, "2b")
    assert [(pair["worse"], pair["better"]) for pair in pairs] == [
        ("L2,H6", "H6,L2"),
        ("L2,H6", "H3,L2,H3"),
        ("H3,L2,H3", "H6,L2"),
    ]
    differences = 0.2 * (1 + 0.1 * noise[1])
    assert pairs[0]["worse_name"] == "l2,h6" and pairs[0]["log_ppl_diff"] == pytest.approx(
        differences.mean()
    )
    half = stats.t.ppf(1 - 0.025 / 3, 39) * differences.std(ddof=1) / 40**0.5
    assert pairs[0]["log_ppl_diff_low"] == pytest.approx(differences.mean() - half)
