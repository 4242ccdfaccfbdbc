"""After a member is retrained, a message says which document is stale, why, and what to run."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from documents import call, only_document
from safetensors.torch import load_file, save_file

from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import read_manifest, write_manifest


@pytest.fixture
def folder(tiny_family, tiny_text, tmp_path):
    """A family of its own, trained on the tiny text."""
    folder = shutil.copytree(tiny_family, tmp_path / "family")
    manifest = read_manifest(folder)
    for facts in manifest["members"].values():
        facts["data"] = str(tiny_text)
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A function that runs a command line as the shell would: with itself as sys.argv."""
    monkeypatch.setenv("STEPIMP_FAMILY", str(folder))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path / "results"))

    def run(*words, code=0):
        arguments = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["stepimp", *arguments])
        return call(*arguments, code=code)

    return run


def change_weights(checkpoint):
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    tensors["backbone.vocab_embed.embedding"] *= 1.01
    save_file(tensors, file, metadata={"format": "pt"})


def retrain(folder, name):
    """Gives a member other weights, as a training would."""
    change_weights(folder / name)
    manifest = read_manifest(folder)
    model = load_checkpoint(str(folder / name), "cpu")
    manifest["members"][name]["fingerprint"] = model.fingerprint
    write_manifest(folder, manifest)


KL = ["kl", "--heavy", "2b", "--light", "1b", "--sequences", 4, "--points", 2, "--length", 8]


def advised(run):
    run(*KL)
    run("recommend", "--steps", 8, "--budget", 0.5)


def test_the_named_command_leads_out(run, folder, tmp_path):
    advised(run)
    retrain(folder, "1b")
    said = run("generate", "--samples", 1, code=1).stderr
    stale = only_document(tmp_path / "results", "recommend")["path"]
    assert f"{stale}, the newest recommendation, was made for other weights of 1b" in said
    command = shlex.split(said.rpartition("run ")[2])
    assert command == ["stepimp", "recommend", "--steps", "8", "--budget", "0.5"]
    again = run(*command[1:])
    assert "was measured with other weights of 1b" in again.stderr
    assert len(list((tmp_path / "results").glob("curves-*.json"))) == 2
    run("generate", "--samples", 1)


def test_curves_that_are_named_are_refused_with_their_command(run, folder, tmp_path):
    run(*KL)
    retrain(folder, "2b")
    curves = only_document(tmp_path / "results", "curves")["path"]
    said = run("recommend", "--curves", curves, "--steps", 8, code=1).stderr
    assert f"{curves} was measured with other weights of 2b than there are now" in said
    command = shlex.split(said.rpartition("again: ")[2])
    run(*command[1:])
    run("recommend", "--steps", 8)
    used = only_document(tmp_path / "results", "recommend")["params"]["curves"]
    assert used != Path(curves).name


def test_a_recommendation_that_generate_made_is_made_anew(run, folder, tmp_path):
    run("generate", "--samples", 1)
    retrain(folder, "1b")
    run("generate", "--samples", 1)
    documents = [
        json.loads(file.read_text()) for file in (tmp_path / "results").glob("recommend-*.json")
    ]
    assert len({str(each["provenance"]["fingerprints"]) for each in documents}) == 2


def test_other_weights_outside_a_family_send_the_curves_away(run, folder, tmp_path):
    elsewhere = shutil.copytree(folder / "1b", tmp_path / "elsewhere")
    run(*["kl", "--heavy", "2b", "--light", elsewhere, *KL[5:]])
    run("recommend", "--heavy", "2b", "--light", elsewhere, "--steps", 8)
    change_weights(elsewhere)
    said = run("generate", "--samples", 1, code=1).stderr
    curves = only_document(tmp_path / "results", "curves")["path"]
    assert f"move {curves} away and run stepimp recommend --heavy 2b" in said


def test_replaced_weights_name_the_training_that_made_them(run, folder):
    manifest = read_manifest(folder)
    manifest["members"]["1b"]["command"] = "stepimp train somewhere --depths 1"
    write_manifest(folder, manifest)
    change_weights(folder / "1b")
    said = " ".join(run(*KL, code=1).stderr.split())
    assert f"remove 1b from {folder / 'family.json'} and run stepimp train somewhere" in said
