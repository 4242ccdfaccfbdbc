"""The GPU benchmark's own logic, at sizes that mean nothing."""

import bench_gpu
import pytest
import torch

from stepimp.kernels import reference
from stepimp.results import read_document

pytest.importorskip("triton", reason="needs Triton")


def test_it_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA device") as stop:
        bench_gpu.main([])
    assert isinstance(stop.value.code, str)  # which the interpreter prints, and exits with 1


def test_it_runs_through_and_writes_one_document(tmp_path, capsys):
    rows = bench_gpu.main(["--tiny", "--out", str(tmp_path)])["rows"]
    (written,) = tmp_path.iterdir()
    document = read_document(written)
    assert (
        document["provenance"]["fingerprints"]["models"].keys() == bench_gpu.TINY["depths"].keys()
    )
    goals = {row["measure"]: row["goal"] for row in rows if row["goal"]}
    assert goals == {
        "body_share_of_peak": ">= 0.45",
        "engine_speedup_over_published": ">= 8",
        "body_share_of_engine": ">= 0.8",
        "saving_over_formula_3": ">= 0.95",
        "statistics_over_bare_projection": "<= 1.5",
        "statistics_speedup_over_full_logits": ">= 3",
        "statistics_extra_bytes": "<= 1e9",
        "kl_protocol_minutes_extrapolated": "<= 60",
    }
    assert all(measure in capsys.readouterr().out for measure in list(goals)[:1])


def test_goals_are_judged():
    assert (
        bench_gpu.row("a", 8.0, ">= 8")["reached"]
        and not bench_gpu.row("a", 7.9, ">= 8")["reached"]
    )
    assert (
        bench_gpu.row("a", 1.5, "<= 1.5")["reached"] and bench_gpu.row("a", 1.0)["reached"] is None
    )
    assert not bench_gpu.row("a", float("nan"), "<= 1")["reached"]


def test_wrong_statistics_stop_it_before_any_speed(monkeypatch, tmp_path, capsys):
    right = bench_gpu.vocabulary_statistics

    def wrong(*arguments, impl):
        ce, kl, entropy = right(*arguments, impl=impl)
        return ce, kl + (1e-4 if impl == "triton" else 0), entropy

    monkeypatch.setattr(bench_gpu, "vocabulary_statistics", wrong)
    with pytest.raises(SystemExit, match="kl of the statistics.*no speed is reported"):
        bench_gpu.main(["--tiny", "--out", str(tmp_path)])
    assert not any(tmp_path.iterdir())


def test_the_plain_way_agrees_with_the_kernel():
    models = bench_gpu.build(bench_gpu.TINY, "cpu", torch.bfloat16, "sdpa")
    rows, heads, targets = bench_gpu.inputs(models, bench_gpu.TINY, 5)
    found, entropy = bench_gpu.materialised(rows, heads, targets, models["12b"].mask_id)
    exact = reference.vocabulary_statistics(rows, heads, targets, models["12b"].mask_id)
    for k, (ce, kl) in enumerate(found):
        torch.testing.assert_close(ce.double(), exact[0][k], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kl.double(), exact[1][k], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy.double(), exact[2], rtol=1e-4, atol=1e-5)
