import time

import datasets
import pytest
from huggingface_hub import constants

from stepimp.errors import StepimpError
from stepimp.text import hub
from stepimp.text.blocks import load_documents, train_tokenizer

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer(tiny_text):
    return train_tokenizer(str(tiny_text), 270)


def hub_dataset(**splits):
    return datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in splits.items()}
    )


HUB = {
    "its own test split": (dict(train=["a", "b"], validation=["v"], test=["t"]), ["a", "b"], ["t"]),
    "a validation split": (dict(train=["a"], validation=["v"]), ["a"], ["v"]),
    "no other split": (
        dict(train=list("abcdefghijklmnopqrstu")),
        list("abcdefghijklmnopqrs"),
        ["t", "u"],
    ),
}


@pytest.mark.parametrize("splits, train, heldout", HUB.values(), ids=HUB)
def test_a_hub_dataset_with(monkeypatch, splits, train, heldout):
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub_dataset(**splits))
    assert load_documents("some/where", "train")["text"][:] == train
    assert load_documents("some/where", "heldout")["text"][:] == heldout
    assert load_documents("some/where", "all")["text"][:] == splits["train"]


def test_a_tokenizer_for_a_small_hub_dataset(monkeypatch):
    texts = ["the model reads"] * 30
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: hub_dataset(train=texts))
    assert len(train_tokenizer("some/where", 262)) == 262


def test_an_unreachable_hub_fails_fast_and_names_the_way_out(monkeypatch, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.offline_unless_reachable.cache_clear()
    start = time.perf_counter()
    with pytest.raises(StepimpError, match="Cannot load 'some/where'.*works offline"):
        load_documents("some/where", "train")
    assert time.perf_counter() - start < 10  # the retries alone would take longer
    assert capfd.readouterr() == ("", "")
