"""A training goes back to the newest checkpoint that can be read as a whole."""

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from stepimp.errors import StepimpError
from stepimp.training.intact import damage, last_checkpoint


def checkpoint(work, step):
    folder = work / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"a": torch.ones(64)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "ema.pt"):
        torch.save({"a": torch.ones(64)}, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "ema.pt", "trainer_state.json"]
CHANGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "replaced by a list": lambda content: b"[]",
}


def test_the_newest_intact_one_is_taken(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (9, 100):
        checkpoint(tmp_path, step)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_one_is_removed_and_the_older_one_taken(tmp_path, caplog, name, change):
    older, newer = checkpoint(tmp_path, 4), checkpoint(tmp_path, 8)
    (newer / name).write_bytes(change((newer / name).read_bytes()))
    assert damage(newer) and not damage(older)
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(tmp_path) == older
    assert "checkpoint-8 is damaged" in caplog.text and "going back to checkpoint-4" in caplog.text
    assert not newer.exists() and older.exists()


@pytest.mark.parametrize("name", ["optimizer.bin", "pytorch_model_fsdp.bin"])
def test_damage_to_sharded_weights_is_found(tmp_path, name):
    folder = checkpoint(tmp_path, 4)
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")
    torch.save({"a": torch.ones(64)}, folder / "pytorch_model_fsdp.bin")
    assert not damage(folder)
    (folder / name).write_bytes(b"cut off")
    assert damage(folder)


def test_a_flipped_byte_of_the_optimizer_is_found(tmp_path):
    folder = checkpoint(tmp_path, 4)
    content = bytearray((folder / "optimizer.pt").read_bytes())
    at = content.index(torch.ones(8).numpy().tobytes())
    content[at] ^= 1
    (folder / "optimizer.pt").write_bytes(bytes(content))
    assert "wrong checksum" in damage(folder)


def test_a_missing_file_is_damage(tmp_path):
    older, newer = checkpoint(tmp_path, 4), checkpoint(tmp_path, 8)
    (newer / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) == older


def test_where_all_are_damaged_nothing_is_removed(tmp_path):
    for step in (4, 8):
        (checkpoint(tmp_path, step) / "trainer_state.json").write_text("")
    with pytest.raises(StepimpError, match="checkpoint-8 is damaged .* there is no older one"):
        last_checkpoint(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
