"""What is predicted of a cascade, against sums over all of its events by their definition."""

import json

import event_laws
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fakes import FakeDenoiser

from stepimp.commands import main
from stepimp.curves.inputs import TextInputs
from stepimp.documents import read_document
from stepimp.noise import NoiseSchedule
from stepimp.sampling.cascade_document import cascade_rows
from stepimp.sampling.cascade_prediction import HeldOutEvents, chunk_check, measure_events

M, THRESHOLD = 3, 0.9
TEXT = (2, 0, 1)


def log_p(denoiser, z, time):
    t = torch.tensor([1.0 if time is None else time])
    return denoiser.logits(denoiser.hidden(torch.tensor([z]), t)[0]).log_softmax(-1).numpy()


def brute_force(denoisers, law):
    """NELBO, path KL and passes of each model for TEXT, event by event."""
    sums = dict.fromkeys(("nelbo", "path_kl", "heavy", "light"), 0.0)
    for probability, events in law:
        left = {position for positions, _, _ in events for position in positions}
        for positions, time, _ in events:
            z = tuple(M if i in left else token for i, token in enumerate(TEXT))
            heavy, light = log_p(denoisers["h"], z, time), log_p(denoisers["l"], z, time)
            p, q = np.exp(heavy[:, :M]), np.exp(light[:, :M])
            entropy = np.mean([-(q[a] * light[a, :M]).sum() for a in positions])
            escalated = entropy > THRESHOLD
            used = heavy if escalated else light
            sums["nelbo"] -= probability * sum(used[a, TEXT[a]] for a in positions)
            sums["path_kl"] += probability * sum(
                (p[a] * (heavy[a, :M] - used[a, :M])).sum() for a in positions
            )
            sums["heavy"] += probability * escalated
            sums["light"] += probability
            left -= set(positions)
    return sums


@pytest.mark.parametrize("steps, strata", [(1, 5), (3, 5), (7, 2), (None, 5), (None, 2)])
def test_predictions_agree_with_all_events_enumerated(steps, strata):
    timed = dict(time_conditioned=steps is not None, steps=steps or 1)
    denoisers = {"h": FakeDenoiser(seed=1, **timed), "l": FakeDenoiser(seed=2, **timed)}
    if steps:
        law = event_laws.ancestral(range(3), steps, lambda n, t: None)
    else:
        law = event_laws.first_hitting(range(3), lambda n, t: None)
    expected = brute_force(denoisers, law)
    n = 1500
    inputs = TextInputs(torch.tensor([TEXT] * n), 3, NoiseSchedule())
    events = measure_events(denoisers, "h", "l", inputs, steps, strata=strata, seed=4)
    predicted = events.predicted(events.entropy > THRESHOLD)
    predicted["light"] = events.sums(np.ones(len(events.entropy)))
    for name, values in predicted.items():
        error = values.std() / n**0.5
        assert values.mean() == pytest.approx(expected[name], abs=4 * error + 1e-9), name
        assert error < 0.15
    if steps is None:
        assert predicted["light"].mean() == pytest.approx(3)


def test_a_given_token_is_no_event():
    denoisers = {"h": FakeDenoiser(seed=1), "l": FakeDenoiser(seed=2)}
    inputs = TextInputs(
        torch.tensor([[2, 0, 1]] * 4), 3, NoiseSchedule(), special_ids=frozenset([2])
    )
    events = measure_events(denoisers, "h", "l", inputs, None, strata=3, seed=4)
    assert events.tokens.tolist() == [2] * 4
    assert events.sums(np.ones(len(events.entropy))) == pytest.approx([2] * 4)


def held_out(n=40, seed=0):
    """One event in each of two strata; where the light model is unsure it is wrong."""
    draw = np.random.default_rng(seed)
    sequence, stratum = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    entropy = draw.uniform(0, 2, 2 * n)
    heavy = draw.uniform(1, 2, 2 * n)
    loss = np.where(entropy > 1, 1.0, 0.0)
    weight = np.ones(2 * n)
    return HeldOutEvents(
        sequence, stratum, weight, entropy, heavy + loss, heavy, loss, np.full(n, 2)
    )


def test_the_threshold_escalates_at_most_its_share():
    events = held_out()
    for share in (0.0, 0.1, 0.33, 0.5, 1.0):
        escalated = events.entropy > events.threshold(share)
        assert escalated.mean() == pytest.approx(share, abs=1 / 80 + 1e-9)
        assert escalated.mean() <= share + 1e-9


def test_a_cascade_that_knows_better_than_the_time_beats_the_best_fixed_schedule():
    rows = cascade_rows(held_out(), 0.25, 0.25, seed=0)
    chosen = rows[0]
    assert chosen["saved_flops"] == pytest.approx(0.25, abs=0.02)
    assert chosen["nelbo_diff_nats_high"] < 0
    alone = {row["name"]: row for row in rows[-2:]}
    assert alone["all-heavy"]["path_kl_nats"] == 0
    difference = alone["all-light"]["nelbo_nats"] - alone["all-heavy"]["nelbo_nats"]
    assert difference == pytest.approx((held_out().entropy > 1).mean())


def test_a_cascade_whose_entropy_says_nothing_does_not():
    events = held_out()
    shuffled = np.random.default_rng(5).permutation(events.entropy)
    blind = HeldOutEvents(**{**vars(events), "entropy": shuffled})
    row = cascade_rows(blind, 0.25, 0.25, seed=0)[0]
    assert row["nelbo_diff_nats_low"] < 0 < row["nelbo_diff_nats_high"]


def test_the_command_tunes_a_threshold_that_generate_takes(tiny_family, tiny_text, tmp_path):
    where = ["--family", str(tiny_family), "--out", str(tmp_path)]
    models = ["--heavy", "2b", "--light", "1b"]

    def run(*arguments, code=0):
        result = CliRunner().invoke(main, [*arguments, *where])
        assert result.exit_code == code, result.output
        return result.output

    assert "run stepimp cascade first" in run("generate", "--cascade", "auto", code=1)
    small = ["--data", str(tiny_text), "--sequences", "6", "--points", "4"]
    output = run("cascade", *models, *small, "--budget", "0.25")
    assert "best fixed schedule at equal mean cost" in output
    document = read_document(next(tmp_path.glob("cascade-*.json")))
    chosen = document["rows"][0]
    assert chosen["saved_flops"] == pytest.approx(0.25, abs=0.05)
    run("generate", "--cascade", "auto", "--samples", "2", "--length", "8")
    generated = read_document(next(tmp_path.glob("generate-*.json")))
    assert generated["params"]["schedule"] == f"cascade({chosen['threshold_nats']:g})"
    assert generated["cost"]["forwards_of"].keys() == {"1b", "2b"}
    assert json.loads(json.dumps(generated["cost"]["flops"])) > 0
    assert "saves at most 50.0%" in run("cascade", *models, *small, "--budget", "0.6", code=1)


CHUNK = {
    "sequence": [4, 5, 5],
    "stratum": [0, 0, 1],
    **dict.fromkeys(("weight", "entropy", "ce_light", "ce_heavy", "kl_light"), [0.5, 1.0, 2.0]),
    "start": 4,
    "tokens": [8, 7],
}


@pytest.mark.parametrize(
    "column, value",
    [
        ("stratum", [0, 0, 10**9]),  # as many strata would take minutes
        ("stratum", [0, 0, -1]),
        ("sequence", [4, 5, 6]),
        ("tokens", [8, -7]),
        ("start", 5),
        ("weight", [0.5, 1.0]),
    ],
)
def test_a_journal_with_other_strata_or_sequences_is_damaged(column, value):
    check = chunk_check(strata=2)
    assert check("4:6", CHUNK) == ""
    assert check("4:6", CHUNK | {column: value}) == "4:6 is not a whole chunk of events"
