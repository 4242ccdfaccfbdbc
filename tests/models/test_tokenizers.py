"""Tokenizers and checkpoints are written whole or not at all."""

import pytest

from stepimp.errors import StepimpError
from stepimp.models.convert import convert
from stepimp.models.tokenizers import load_tokenizer, save_tokenizer


@pytest.mark.parametrize("limit", [0, 1000])
def test_a_full_disk_keeps_the_tokenizer_that_is_there(tiny_family, tmp_path, full_disk, limit):
    tokenizer = load_tokenizer(str(tiny_family))
    for old in ([], ["tokenizer.json", "tokenizer_config.json"]):
        with full_disk(limit), pytest.raises(StepimpError, match="Cannot write a tokenizer to"):
            save_tokenizer(tokenizer, tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == old
        save_tokenizer(tokenizer, tmp_path)
        again = load_tokenizer(str(tmp_path)).backend_tokenizer
        assert again.to_str() == tokenizer.backend_tokenizer.to_str()


@pytest.mark.parametrize("limit", [0, 1000, 4000])
def test_a_conversion_that_fills_the_disk_leaves_nothing(tiny_family, tmp_path, full_disk, limit):
    with full_disk(limit), pytest.raises(StepimpError, match="Cannot write .* Free space or"):
        convert(str(tiny_family / "1b"), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    convert(str(tiny_family / "1b"), tmp_path / "new")


def test_others_may_read_a_model_that_is_written(tiny_family, tmp_path):
    convert(str(tiny_family / "1b"), tmp_path / "new")
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "new").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_folder_that_cannot_be_written_is_found_before_a_conversion(
    tiny_family, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "stepimp.models.convert.open_checkpoint", lambda *_: pytest.fail("it was opened")
    )
    with pytest.raises(StepimpError, match=f"Cannot write to {tmp_path / 'file'}"):
        convert(str(tiny_family / "1b"), tmp_path / "file" / "below")


def test_an_interrupted_conversion_leaves_nothing(tiny_family, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stepimp.models.convert.save_tokenizer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(str(tiny_family / "1b"), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
