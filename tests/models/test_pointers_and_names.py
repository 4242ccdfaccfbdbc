"""Files that Git LFS has not fetched, links that lead nowhere, and a damaged family.json."""

import shutil

import pytest
from click.testing import CliRunner
from documents import call
from outcomes import FAST

from stepimp.commands import main
from stepimp.errors import StepimpError
from stepimp.models.adding import add_member
from stepimp.models.family import MANIFEST, read_manifest
from stepimp.models.loading import load

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(tiny_family, tmp_path):
    return shutil.copytree(tiny_family, tmp_path / "family")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_git_lfs_pointer_is_named_with_what_helps(folder, name):
    (folder / "2b" / name).write_bytes(POINTER)
    with pytest.raises(StepimpError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        load(["2b"], folder, "cpu")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(StepimpError, match="link is a link to .*gone, and nothing is there"):
        load([str(tmp_path / "link")], tmp_path, "cpu")


NAMES = ["../x", "/etc", "..", ".", "", "a/b", "a\\b", ".hidden", "-x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_out_of_the_folder_is_refused(folder, name):
    with pytest.raises(StepimpError, match="is not a name"):
        add_member(folder, name, str(folder / "2b"))
    text = (folder / MANIFEST).read_text().replace('"1b"', f'"{name}"'.replace("\\", "\\\\"))
    (folder / MANIFEST).write_text(text)
    with pytest.raises(StepimpError, match="is not the name of a member"):
        read_manifest(folder)


DAMAGES = {
    "cut off": lambda text: text[:99],
    "blocks in words": lambda text: text.replace('"blocks": 2', '"blocks": "2"', 1),
    "a list": lambda text: "[]",
    "no members": lambda text: text.replace('"members"', '"others"'),
    "a NUL in a path": lambda text: text.replace('"blocks"', '"checkpoint": "\\u0000", "blocks"'),
    "no blocks": lambda text: text.replace('"blocks": 2', '"blocks": 0', 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_says_how_to_make_it_again(folder, damage):
    (folder / MANIFEST).write_text(damage((folder / MANIFEST).read_text()))
    with pytest.raises(StepimpError, match="family.json is damaged: ") as error:
        read_manifest(folder)
    for name in ("1b", "2b", "2b_seed2"):
        assert f"stepimp family add {folder} {name} {folder / name}" in str(error.value)
    assert "judge" not in str(error.value)


def test_what_is_said_of_a_damaged_manifest_works(folder, tiny_text, tmp_path):
    (folder / MANIFEST).write_text("{")
    result = CliRunner().invoke(main, ["models", "--family", str(folder)])
    commands = " ".join(result.stderr.split()).rpartition("again: ")[2].split("; ")
    (folder / MANIFEST).rename(tmp_path / "moved-away.json")
    for command in commands:
        call(*command.split()[1:])
    pair = ["--heavy", "2b", "--light", "1b", "--data", tiny_text]
    call("kl", "--family", folder, *pair, *FAST, "--out", tmp_path)
