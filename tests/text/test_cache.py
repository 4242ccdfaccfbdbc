"""What the cache holds, and emptying it."""

import io
import json

import pytest
from documents import call

from stepimp.errors import StepimpError
from stepimp.text import cache
from stepimp.text.blocks import load_blocks, train_tokenizer
from stepimp.text.pipes import save_stream


@pytest.fixture
def filled(tmp_path, monkeypatch, tiny_text):
    """A cache folder of its own with text and tokens, and something that is not stepimp's."""
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path))
    load_blocks(str(tiny_text), train_tokenizer(str(tiny_text), 270), 16, "train")
    (tmp_path / "rates-0123456789ab.json").write_text("{}")
    (tmp_path / "unfinished-ab3_x").mkdir()  # of a run that was killed while it read a pipe
    (tmp_path / "thesis.txt").write_text("mine")
    save_stream(io.BytesIO(b"the model reads"), "a pipe")
    return tmp_path


def test_the_contents_are_counted_by_kind(filled):
    kinds = {kind.name: kind for kind in cache.contents()}
    assert kinds.keys() == {"text", "tokens", "timings of models"}
    (tokens,) = filled.glob("*.tokens")
    assert kinds["tokens"] == ("tokens", 1, tokens.stat().st_size)
    assert kinds["timings of models"].bytes == 2
    sizes = [kind.bytes for kind in cache.contents()]
    assert sizes == sorted(sizes, reverse=True)


def test_the_command_shows_the_folder_and_empties_it_of_what_is_its_own(filled):
    shown = call("cache")
    assert str(filled) in shown.stdout and "tokens" in shown.stdout
    total = json.loads(call("cache", "--json").stdout)["bytes"]
    assert total == sum(kind.bytes for kind in cache.contents()) > 0
    assert "Removed" in call("cache", "clear").stdout
    assert [path.name for path in filled.iterdir()] == ["thesis.txt"]
    assert cache.contents() == [] and json.loads(call("cache", "--json").stdout)["bytes"] == 0


@pytest.mark.parametrize("left", [0, 300])
def test_a_text_that_was_cut_off_is_written_again(filled, tiny_text, left):
    file, before = next((file, file.read_bytes()) for file in filled.glob("text-*.arrow"))
    file.write_bytes(before[:left])
    load_blocks(str(tiny_text), train_tokenizer(str(tiny_text), 270), 16, "train")
    assert file.read_bytes() == before


def nobody(path):
    raise RuntimeError("Could not determine home directory.")  # as pathlib does


@pytest.mark.parametrize("home", ["/dev/null/home", nobody])
def test_without_a_home_folder_text_is_kept_for_this_process_alone(monkeypatch, caplog, home):
    cache.temporary_folder.cache_clear()
    for name in ("STEPIMP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is nobody:
        monkeypatch.setattr(cache.Path, "expanduser", home)
    else:
        monkeypatch.setenv("HOME", home)
    folder = cache.cache_folder()
    assert folder.name.startswith("stepimp-") and list(folder.iterdir()) == []
    assert cache.cache_folder() == folder and caplog.text.count("for this run alone") == 1
    monkeypatch.setenv("STEPIMP_CACHE", "~/cache")
    with pytest.raises(StepimpError, match="Cannot make the cache folder .* STEPIMP_CACHE to an"):
        cache.cache_folder()


def test_a_cache_that_cannot_be_written_is_shown_all_the_same(filled, monkeypatch):
    monkeypatch.setattr(cache.os, "access", lambda *_: False)
    assert json.loads(call("cache", "--json").stdout)["folder"] == str(filled)
    assert str(filled) in call("cache", "clear").stdout
