import json
import os
import socket
import sys
from subprocess import Popen
from types import SimpleNamespace
from unittest import mock

import pytest
import sharded_training
import torch
from safetensors.torch import load_file
from sharded_training import exact, judge
from small_training import SHAPE, equal

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest
from stepimp.models.loading import open_tokenizer
from stepimp.text.blocks import load_blocks
from stepimp.training.objective import evaluate_nelbo
from stepimp.training.sharding import CHECKPOINT, check_resumable, configure
from stepimp.training.speed import in_turn


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text):
    """What sharded_training.py trains as a script."""
    folder = tmp_path_factory.mktemp("sharded")
    launched = {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # accelerate launch's default
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, sharded_training.__file__, str(text)]
    processes = []
    for rank in ("0", "1"):
        environment = os.environ | launched | {"RANK": rank, "LOCAL_RANK": rank}
        with open(folder / f"log.{rank}", "w") as log:
            processes.append(Popen(command, cwd=folder, env=environment, stderr=log))
    try:
        for rank, process in enumerate(processes):
            assert process.wait(600) == 0, (folder / f"log.{rank}").read_text()
    finally:
        for process in processes:
            process.kill()
    return folder


def weights(folder):
    return load_file(folder / "model.safetensors")


def close(first, second, tolerance=1e-5):
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=tolerance, atol=tolerance) for name in first
    )


def test_weights_average_and_momenta_are_shared_out(folder):
    counts = [json.loads((folder / f"shards.{rank}").read_text()) for rank in (0, 1)]
    (total, first), (_, second) = counts
    assert first + second == total and 0.9 < first / second < 1.1


def test_the_steps_are_those_of_processes_with_all_weights(folder):
    assert close(weights(folder / "whole/2b"), weights(folder / "copies/2b"))
    mixed, mixed_copies, exact = (
        weights(folder / name / "2b.snapshots/3")["backbone.vocab_embed.embedding"]
        for name in ("bf16", "copies_bf16", "whole")
    )
    assert torch.allclose(mixed, mixed_copies, atol=5e-4)
    assert not torch.allclose(mixed, exact, atol=2e-3)


def test_the_steps_are_those_of_one_process(folder, tmp_path, text):
    with exact():
        facts = judge(tmp_path, text, 4)
    first, second = weights(folder / "judge/judge"), weights(tmp_path / "judge")
    for part in (first, second):  # the gradient of attention's key bias is rounding alone
        del part["transformer.h.0.attn.c_attn.bias"]
    assert close(first, second)
    there = json.loads((folder / "judge/judge/recipe.json").read_text())
    nats = "heldout_nats_per_token"
    assert there[nats] == pytest.approx(facts[nats], rel=1e-6)


def test_a_killed_training_resumes(folder):
    assert equal(weights(folder / "whole/2b"), weights(folder / "stopped/2b"))


def test_models_and_snapshots_are_whole_and_evaluated(folder, text):
    tokenizer = open_tokenizer(str(folder / "whole"))
    held_out = load_blocks(str(text), tokenizer, SHAPE["model_length"], "heldout").tokens
    facts = json.loads((folder / "whole/2b.snapshots/3/snapshot.json").read_text())
    recorded = {
        "2b": read_manifest(folder / "whole")["members"]["2b"]["heldout_nelbo_nats"],
        "2b.snapshots/3": facts["heldout_nats_per_token"],
    }
    for name, nats in recorded.items():
        model = load_checkpoint(str(folder / "whole" / name), "cpu")
        assert evaluate_nelbo(model, held_out) == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("sharded, way", [(True, "with"), (False, "without")])
def test_a_training_continues_as_it_began(folder, tmp_path, sharded, way):
    checkpoint = tmp_path / "2b.training" / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    if sharded:
        (checkpoint / CHECKPOINT[0]).touch()
    check_resumable(checkpoint, SimpleNamespace(is_fsdp_enabled=sharded))
    with pytest.raises(StepimpError, match=rf"2b.training was begun {way} sharded weights"):
        check_resumable(checkpoint, SimpleNamespace(is_fsdp_enabled=not sharded))


def test_the_first_fsdp_is_refused():
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(fsdp_version=1))
    trainer = SimpleNamespace(is_fsdp_enabled=True, accelerator=SimpleNamespace(state=state))
    with pytest.raises(StepimpError, match="Muon needs them as matrices: choose version 2"):
        configure(trainer)


def test_where_nothing_can_be_sharded_a_warning_says_so(monkeypatch, caplog):
    unsharded = SimpleNamespace(is_fsdp_enabled=False)
    configure(unsharded)
    assert not caplog.records
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    configure(unsharded)
    assert "every process keeps all of them" in caplog.text


def test_compiled_blocks_are_compiled_one_by_one(random_model, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block, **_: setattr(block, "alone", 1))
    plugin = mock.Mock(fsdp_version=2)
    trainer = mock.Mock(is_fsdp_enabled=True, model=random_model())
    trainer.accelerator.state.fsdp_plugin = plugin
    trainer.model.run_blocks = in_turn
    configure(trainer)
    assert trainer.model.run_blocks is None
    assert all(block.alone for block in trainer.model.backbone.blocks)
