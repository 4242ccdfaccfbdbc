from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from stepimp.commands import main
from stepimp.text import bundled
from stepimp.text.blocks import load_blocks, load_documents, train_tokenizer
from stepimp.text.bundled import docstrings

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


@pytest.fixture
def some_modules(monkeypatch, tmp_path):
    """A part of the standard library for the whole and one small library for the others, in a cache
    of its own.
    """
    some = list(islice(bundled.stdlib_sources(), 40))
    monkeypatch.setattr(bundled, "stdlib_sources", lambda: iter(some))
    monkeypatch.setattr(bundled, "DOCUMENTED", ("click", "not_installed"))
    monkeypatch.setenv("STEPIMP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("corpus", bundled.BUNDLED)
def test_bundled_corpora_split_into_disjoint_documents(corpus, some_modules):
    names = {
        split: load_documents(corpus, split)["name"][:] for split in ("train", "heldout", "all")
    }
    assert set(names["train"]).isdisjoint(names["heldout"])
    assert sorted(names["train"] + names["heldout"]) == sorted(names["all"])
    assert 0.02 < len(names["heldout"]) / len(names["all"]) < 0.3
    assert all(load_documents(corpus, "all")["text"])
    read_from = bundled.BUNDLED[corpus].packages()
    assert ("click/core.py" in names["train"]) == ("click" in read_from)


def test_a_corpus_is_read_again_after_an_update_of_what_it_is_read_from(some_modules, monkeypatch):
    loads = []
    monkeypatch.setattr(bundled, "cached", lambda key, texts: loads.append(key))
    for number in ("1", "2"):
        monkeypatch.setattr("importlib.metadata.version", lambda package, number=number: number)
        for corpus in ("docs", "code"):
            bundled.load_bundled(corpus, "train")
    docs, code, docs_updated, code_again = loads
    assert docs != docs_updated and code == code_again != docs


def test_a_split_of_a_bundled_corpus_reads_its_own_documents_alone(some_modules, monkeypatch):
    read = []
    monkeypatch.setattr(
        bundled, "read_source", lambda path: read.append(path.name) or '"""A docstring."""'
    )
    assert len(load_documents("code", "heldout")) == len(read) < len(list(bundled.stdlib_sources()))


SOURCES = {b'"""\xff"""': "", b"print 'Python 2'": "", b'"of a module"\nx = "\\d"\n': "of a module"}


@pytest.mark.parametrize("source", SOURCES)
def test_a_module_that_cannot_be_read_or_parsed_has_no_docstrings(tmp_path, source, recwarn):
    (tmp_path / "a.py").write_bytes(source)
    assert (
        docstrings(bundled.read_source(tmp_path / "a.py")) == SOURCES[source] and not recwarn.list
    )


def test_docstrings_stand_in_the_order_of_the_source():
    source = '"""one"""\nclass A:\n  """two"""\n  def f(self):\n    """three"""\n'
    source += 'async def g():\n  """four"""\n'
    assert docstrings(source) == "one\n\ntwo\n\nthree\n\nfour"


def test_a_second_load_reads_no_source_and_tokenizes_nothing(tokenizer, some_modules, monkeypatch):
    first = load_blocks("code", tokenizer, LENGTH, "heldout")
    unread = bundled.Corpus(lambda: pytest.fail("read again"))
    monkeypatch.setitem(bundled.BUNDLED, "code", unread)
    no_call = SimpleNamespace(
        is_fast=True,
        backend_tokenizer=tokenizer.backend_tokenizer,
        eos_token_id=tokenizer.eos_token_id,
    )
    again = load_blocks("code", no_call, LENGTH, "heldout")
    assert torch.equal(first.tokens, again.tokens) and first.fingerprint == again.fingerprint


@pytest.mark.parametrize("command", ["train", "judge", "kl"])
def test_the_help_of_data_names_every_corpus(command):
    data = next(option for option in main.commands[command].params if option.name == "data")
    assert data.help.startswith(f"{' or '.join(bundled.BUNDLED)} (")
