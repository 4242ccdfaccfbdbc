"""The GPU benchmark's own logic, at sizes that mean nothing."""

import time
from contextlib import suppress

import bench_gpu
import gpu_setup
import gpu_stages
import pytest
import torch

from stepimp.documents import read_document
from stepimp.kernels import reference

pytest.importorskip("triton", reason="needs Triton")


def test_it_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA device") as stop:
        bench_gpu.main([])
    assert isinstance(stop.value.code, str)  # which the interpreter prints, and exits with 1


GOALS = {
    "kernels": {
        "statistics_over_bare_projection": "<= 1.5",
        "statistics_speedup_over_full_logits": ">= 3",
        "statistics_extra_bytes": "<= 1e9",
    },
    "body": {"body_share_of_peak": ">= 0.45"},
    "sampler": {
        "sampler_speedup_over_published": ">= 8",
        "body_share_of_sampler": ">= 0.8",
        "saving_over_formula_3": ">= 0.95",
    },
    "curves": {"kl_protocol_minutes_extrapolated": "<= 60"},
    "train": {"training_share_of_peak": ">= 0.4"},
}


def test_each_stage_writes_a_document_of_its_own(tmp_path, capsys):
    documents = bench_gpu.main(["--tiny", "--out", str(tmp_path)])
    assert len(list(tmp_path.iterdir())) == len(documents) == len(GOALS)
    for document in map(read_document, tmp_path.iterdir()):
        goals = {row["measure"]: row["goal"] for row in document["rows"] if row["goal"]}
        assert goals == GOALS[document["params"]["stage"]]
    assert "sampler_speedup_over_published" in capsys.readouterr().out


def test_some_stages_can_run_alone(tmp_path):
    (document,) = bench_gpu.main(["--tiny", "--only", "body", "--out", str(tmp_path)])
    assert document["params"]["stage"] == "body"
    with pytest.raises(SystemExit):
        bench_gpu.main(["--tiny", "--only", "body,soul", "--out", str(tmp_path)])


@pytest.mark.parametrize("fails", ["raises", "takes too long"])
def test_a_stage_that_fails_leaves_the_others_results(monkeypatch, tmp_path, capsys, fails):
    def stage(*_):
        if fails == "raises":
            raise RuntimeError("no such kernel")
        with suppress(Exception):  # as a compiler may
            time.sleep(60)
        time.sleep(60)

    monkeypatch.setitem(bench_gpu.STAGES, "kernels", stage)
    with pytest.raises(SystemExit, match="Failed: kernels"):
        bench_gpu.main(["--tiny", "--only", "kernels,body", "--limit", "5", "--out", str(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 1
    said = capsys.readouterr().err
    assert ("no such kernel" if fails == "raises" else "over the limit of 5 s") in said


def test_goals_are_judged():
    assert (
        gpu_setup.row("a", 8.0, ">= 8")["reached"]
        and not gpu_setup.row("a", 7.9, ">= 8")["reached"]
    )
    assert (
        gpu_setup.row("a", 1.5, "<= 1.5")["reached"] and gpu_setup.row("a", 1.0)["reached"] is None
    )
    assert not gpu_setup.row("a", float("nan"), "<= 1")["reached"]


def test_wrong_statistics_stop_a_stage_before_any_speed(monkeypatch, tmp_path, capsys):
    right = gpu_stages.vocabulary_statistics

    def wrong(*arguments, impl):
        ce, kl, entropy = right(*arguments, impl=impl)
        return ce, kl + (1e-4 if impl == "triton" else 0), entropy

    monkeypatch.setattr(gpu_stages, "vocabulary_statistics", wrong)
    with pytest.raises(SystemExit, match="Failed: kernels"):
        bench_gpu.main(["--tiny", "--only", "kernels", "--out", str(tmp_path)])
    assert "kl of the statistics" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_plain_way_agrees_with_the_kernel():
    models = gpu_setup.build(gpu_setup.TINY, "cpu", torch.bfloat16, "sdpa")
    rows, heads, targets = gpu_setup.inputs(models, gpu_setup.TINY, 5)
    found, entropy = gpu_stages.materialised(rows, heads, targets, models["12b"].mask_id)
    exact = reference.vocabulary_statistics(rows, heads, targets, models["12b"].mask_id)
    for k, (ce, kl) in enumerate(found):
        torch.testing.assert_close(ce.double(), exact[0][k], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kl.double(), exact[1][k], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy.double(), exact[2], rtol=1e-4, atol=1e-5)
