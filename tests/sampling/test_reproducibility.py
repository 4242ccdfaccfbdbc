"""The measurement of logits alone and in batches: it sees a difference, and says how large."""

import json

import pytest
import torch
from click.testing import CliRunner
from fakes import FakeDenoiser

from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.sampling.reproducibility import halfway, logits_in_batches, reproducibility_rows
from stepimp.sampling.reproducibility import summary as sentence

COUNTS = ("rows_different", "argmax_different", "tokens_different")


class Shifted(FakeDenoiser):
    """Adds to the logits of the first sequence of every batch of several."""

    shift = 0.0

    def hidden(self, z, t=None, at=None):
        rows = super().hidden(z, t, at).clone()
        if len(z) > 1:
            rows[0, :, 1] += self.shift
        return rows


def rows_of(denoiser, **options):
    return reproducibility_rows({"model": denoiser}, 6, seed=0, sequences=8, **options)


@pytest.mark.bits
def test_a_model_that_does_not_see_its_batch_is_the_same_in_all():
    rows = rows_of(FakeDenoiser(length=6), batch_sizes=(2, 4))
    assert [(row["kind"], row["model"], row["batch_size"]) for row in rows] == [
        ("reproducibility", "model", 2),
        ("reproducibility", "model", 4),
    ]
    assert all(row["logit_rows"] == 32 and row["largest_logit_diff"] == 0 for row in rows)
    assert all(row[name] == 0 for row in rows for name in COUNTS)
    assert (
        sentence(rows)
        == "Logits are the same bits alone and in batches of 2, 4 (64 rows compared)."
    )


@pytest.mark.bits
def test_the_smallest_difference_is_seen_and_counted_in_units_of_the_last_place():
    denoiser = Shifted(length=6)
    denoiser.table[..., 1] = 1.0
    denoiser.shift = 2.0**-52
    (row,) = rows_of(denoiser, batch_sizes=(4,))
    # The first of each four sequences, at four positions.
    assert (row["rows_different"], row["largest_ulp_diff"]) == (8, 1)
    assert row["largest_logit_diff"] == 2.0**-52
    assert row["argmax_different"] == row["tokens_different"] == 0
    assert "8 of 32 rows differ, by at most 2.2e-16, and 0 of the tokens" in sentence([row])


@pytest.mark.bits
def test_a_large_difference_changes_tokens():
    denoiser = Shifted(length=6)
    denoiser.shift = 1e3
    (row,) = rows_of(denoiser, batch_sizes=(2,))
    assert row["rows_different"] == 16
    assert 0 < row["argmax_different"] <= 16 and 0 < row["tokens_different"] <= 16


@pytest.mark.parametrize("time_conditioning", [False, True])
def test_fp32_logits_agree_to_rounding_in_any_batch(random_model, time_conditioning):
    model = random_model(1, hidden_dim=64, time_conditioning=time_conditioning).freeze()
    z, t, positions = halfway(model, 32, 6, seed=3)
    assert (z.gather(1, positions) == model.mask_id).all()
    with torch.no_grad():
        alone, together = (logits_in_batches(model, z, t, positions, size) for size in (1, 5))
    finite = torch.isfinite(alone)
    torch.testing.assert_close(alone[finite], together[finite], rtol=1e-5, atol=1e-4)


def test_profile_measures_and_says_it(tiny_family, tmp_path):
    small = "--steps 4 --samples 1 --repeats 1 --points 2 --length 8".split()  # noqa: SIM905
    where = ["--family", str(tiny_family), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, ["profile", *small, *where])
    assert result.exit_code == 0, result.output
    document = read_document(next(tmp_path.glob("profile-*.json")))
    assert (document["params"]["heavy"], document["params"]["light"]) == ("2b", "1b")
    rows = [row for row in document["rows"] if row["kind"] == "reproducibility"]
    assert [(row["model"], row["batch_size"]) for row in rows] == [
        (model, size) for model in ("2b", "1b") for size in (2, 4, 8, 16)
    ]
    assert result.stdout.splitlines()[-1] == sentence(rows)
    assert max(map(len, result.stdout.splitlines()[:-2])) <= 80
    result = CliRunner().invoke(main, ["profile", *small, *where, "--json"])
    assert len(json.loads(result.stdout)["rows"]) == 16 + 2 + 8
