"""Small models run on one thread, unless OMP_NUM_THREADS is set."""

import os

import pytest
from documents import call

from stepimp.commands import _threads
from stepimp.commands._threads import choose_threads

VARIABLE = "OMP_NUM_THREADS"
NAMED = {"heavy": "2b", "lights": ("1b",), "baseline": None}


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that the value before the test comes back
    monkeypatch.delenv(VARIABLE)


@pytest.mark.parametrize("named", [NAMED, {}, {"heavy": None, "light": "1b"}])
def test_small_models_run_on_one_thread(tiny_family, named):
    choose_threads({"family": str(tiny_family)} | named)
    assert os.environ[VARIABLE] == "1"


def test_what_the_user_says_holds(tiny_family, monkeypatch):
    monkeypatch.setenv(VARIABLE, "3")
    choose_threads({"family": str(tiny_family)})
    assert os.environ[VARIABLE] == "3"


def test_large_models_and_those_of_unknown_size_take_all_cores(tiny_family, tmp_path, monkeypatch):
    params = {"family": str(tiny_family)} | NAMED
    choose_threads(params | {"heavy": "somebody/large-model"})
    choose_threads(params | {"family": str(tmp_path / "missing")})
    monkeypatch.setattr(_threads, "SMALL_MODEL", 100)
    choose_threads(params)
    assert VARIABLE not in os.environ


def test_commands_and_their_estimates_choose(tiny_family, tmp_path, monkeypatch):
    line = ["kl", "--sequences", 2, "--points", 2, "--family", tiny_family, "--out", tmp_path]
    for words in (line, ["estimate", *line]):
        call(*words)
        assert os.environ.pop(VARIABLE) == "1"
