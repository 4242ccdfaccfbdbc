import json
import shutil
from pathlib import Path

import pytest
from tiny_models import word_tokenizer

from stepimp.errors import StepimpError
from stepimp.models import adding
from stepimp.models.checkpoints import fingerprint, load_checkpoint
from stepimp.models.family import (
    SCHEMA,
    default_members,
    family_folder,
    members,
    other_seed,
    read_manifest,
    recorded,
    resolve,
    write_manifest,
)
from stepimp.models.loading import load, load_tokenizer
from stepimp.text.blocks import train_tokenizer


def test_names_load_together_with_their_tokenizer(tiny_family):
    family = load(["2b", "1b", "2b"], tiny_family, device="cpu")
    assert family.blocks == {"2b": 2, "1b": 1}
    assert family.any is family.denoisers["2b"]
    assert family.fingerprints["1b"] == load_checkpoint(str(tiny_family / "1b")).fingerprint
    assert len(family.tokenizer) == family.any.vocab_size


def test_a_path_works_in_place_of_a_name(tiny_family):
    path = str(tiny_family / "1b")
    assert (
        load([path], tiny_family).fingerprints[path] == load(["1b"], tiny_family).fingerprints["1b"]
    )


def test_a_name_of_the_family_comes_before_a_path(tiny_family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1b").mkdir()
    assert resolve("1b", tiny_family) == str(tiny_family / "1b")
    assert resolve("some/where", tiny_family) == "some/where"


def test_members_are_listed_by_depth(tiny_family):
    rows = members(tiny_family)
    listed = [(row["name"], row["blocks"], row["seed"]) for row in rows]
    assert listed == [("1b", 1, 1), ("2b", 2, 1), ("2b_seed2", 2, 2)]
    assert len({row["fingerprint"] for row in rows}) == 3
    assert rows[0]["parameters"] < rows[1]["parameters"] == rows[2]["parameters"]


def test_no_folder_means_the_bundled_family():
    assert family_folder().parent.name == "fixtures"
    assert str(family_folder("~/f")).startswith("/")


def test_a_bundled_family_can_be_named_unless_a_folder_holds_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()  # documentation, not a family
    assert family_folder("docs") == family_folder() and family_folder("no-such") == Path("no-such")
    assert family_folder(str(tmp_path / "docs")) == tmp_path / "docs"
    write_manifest(tmp_path / "docs", {})
    assert family_folder("docs") == Path("docs")


def test_results_name_a_family_the_same_from_every_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        recorded(None) is None
        and recorded("docs") is None
        and recorded(str(family_folder())) is None
    )
    assert recorded("mine") == recorded("../" + tmp_path.name + "/mine") == str(tmp_path / "mine")
    assert recorded(str(family_folder().parent / "code")) == "code"


@pytest.mark.parametrize("name", ["3b", "", "/no/such/folder", "a/b/c"])
def test_an_unknown_name_lists_the_known_ones(tiny_family, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepimpError, match="2b, 1b, 2b_seed2|no config.json"):
        load([name], tiny_family)


@pytest.mark.parametrize("name", ["./gone", "../gone", "../gone/last.ckpt", "~/gone", "/gone"])
def test_a_path_where_nothing_is_is_not_looked_for_at_the_hub(tiny_family, name):
    with pytest.raises(StepimpError, match=f"There is no file or folder {name}, and .* has 2b, 1b"):
        resolve(name, tiny_family)


def test_a_folder_without_a_family(tmp_path):
    with pytest.raises(StepimpError, match=f"Unknown model '2b': there is no family in {tmp_path}"):
        resolve("2b", tmp_path)
    with pytest.raises(
        StepimpError, match=f"{tmp_path} holds no family: train one with stepimp train"
    ):
        members(tmp_path)


def test_a_member_whose_folder_is_gone(tmp_path, tiny_family):
    write_manifest(tmp_path, read_manifest(tiny_family))
    with pytest.raises(StepimpError, match="2b is not a checkpoint: there is no such folder"):
        load(["2b"], tmp_path)


DAMAGED = [
    "",
    "{",
    "[]",
    '{"schema": "stepimp-family/9", "members": {}}',
    '{"schema": "stepimp-family/1"}',
    '{"schema": "stepimp-family/1", "members": {"2b": {"blocks": 2}}}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "family.json").write_text(content)
    with pytest.raises(StepimpError, match="family.json is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(vocab_size=281, mask_token_id=279),
            "2b and .* family: the vocabulary size is 280 in one, 281",
        ),
        (dict(mask_token_id=278), "its config has the mask token 278 and its tokenizer 279"),
        (
            dict(noise="loglinear"),
            "2b .* family: the noise schedule is linear in one, loglinear",
        ),
    ],
)
def test_models_of_different_families_do_not_run_together(
    tiny_family, tmp_path, random_model, change, message
):
    random_model(**{"vocab_size": 280, **change}).save_pretrained(tmp_path)
    load_tokenizer(str(tiny_family / "2b")).save_pretrained(tmp_path)
    with pytest.raises(StepimpError, match=message):
        load(["2b", str(tmp_path)], tiny_family)


def test_models_of_different_tokenizers_do_not_run_together(tiny_family, tmp_path, random_model):
    random_model(vocab_size=280).save_pretrained(tmp_path)
    (tmp_path / "other.txt").write_text("quite another text, quite another tokenizer " * 20)
    train_tokenizer(str(tmp_path / "other.txt"), 280).save_pretrained(tmp_path)
    with pytest.raises(StepimpError, match="not of one family: their tokenizers differ"):
        load(["2b", str(tmp_path)], tiny_family)


def test_a_tokenizer_larger_than_the_vocabulary(tiny_family, tmp_path, random_model):
    random_model(vocab_size=270).save_pretrained(tmp_path)
    load_tokenizer(str(tiny_family / "2b")).save_pretrained(tmp_path)
    with pytest.raises(StepimpError, match="its tokenizer has 280 tokens and the model 270"):
        load([str(tmp_path)], tiny_family)


def test_a_checkpoint_without_a_tokenizer_offline(tmp_path, random_model):
    random_model().save_pretrained(tmp_path)
    with pytest.raises(StepimpError, match="has no tokenizer, and GPT-2's could not be fetched"):
        load_tokenizer(str(tmp_path))


def test_a_damaged_tokenizer_is_not_replaced_by_another(tmp_path, random_model):
    random_model().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    said = f"Cannot load the tokenizer of {tmp_path}: .*tokenizer.json is damaged, fetch it again"
    with pytest.raises(StepimpError, match=said):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(StepimpError, match="it lacks 'added_tokens'. If its"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_of_a_config_alone_says_what_is_missing(tmp_path, tiny_family):
    shutil.copy(tiny_family / "tokenizer_config.json", tmp_path)
    with pytest.raises(StepimpError, match=r"it has no tokenizer.json: put one there\.$"):
        load_tokenizer(str(tmp_path))


def manifest(folder, **members):
    """Writes a family whose members have these (blocks, seed)."""
    facts = {
        name: {"blocks": blocks, "seed": seed, "heldout_nelbo_nats": 3.0}
        for name, (blocks, seed) in members.items()
    }
    write_manifest(folder, {"schema": SCHEMA, "members": facts})


def replaced(folder, random_model, checkpoint=None):
    """A family whose member 2b has other weights than its manifest says."""
    model = random_model(1, n_blocks=2)
    model.save_pretrained(folder / "2b")
    word_tokenizer(mask=None, words=[f"w{i}" for i in range(20)]).save_pretrained(folder / "2b")
    facts = {"blocks": 2, "seed": 1, "heldout_nelbo_nats": None, "fingerprint": "0" * 12}
    facts |= {"checkpoint": checkpoint} if checkpoint else {}
    write_manifest(folder, {"schema": SCHEMA, "members": {"2b": facts}})
    return facts, fingerprint(model)


def test_a_member_whose_weights_were_replaced_is_named(tmp_path, random_model):
    facts, digest = replaced(tmp_path, random_model)
    with pytest.raises(StepimpError, match=f"of 2b .* {'0' * 12} in its .* {digest} now.*train"):
        load(["2b"], tmp_path, "cpu")
    replaced(tmp_path, random_model, checkpoint=str(tmp_path / "2b"))
    with pytest.raises(StepimpError, match="The weights of 2b .* stepimp family add again"):
        load(["2b"], tmp_path, "cpu")
    for recorded_as in (digest, None):  # None: by an older version
        members = {"2b": facts | {"fingerprint": recorded_as}}
        write_manifest(tmp_path, {"schema": SCHEMA, "members": members})
        assert load(["2b"], tmp_path, "cpu").fingerprints == {"2b": digest}


def test_members_that_two_processes_add_at_once_are_both_there(tmp_path, tiny_family, monkeypatch):
    describe = adding.describe

    def meanwhile(source):
        monkeypatch.undo()
        adding.add_member(tmp_path, "1b", str(tiny_family / "1b"))
        return describe(source)

    monkeypatch.setattr(adding, "describe", meanwhile)
    adding.add_member(tmp_path, "2b", str(tiny_family / "2b"))
    assert read_manifest(tmp_path)["members"].keys() == {"1b", "2b"}


def test_the_bundled_families_have_the_weights_that_they_record():
    for name in ("docs", "code"):
        heavy, light = default_members(family_folder(name))
        assert load([heavy, light], family_folder(name), "cpu", "bfloat16").blocks


def test_the_default_members_are_the_deepest_and_the_shallowest(tmp_path):
    manifest(tmp_path, a=(6, 4), b=(6, 3), b_seed1=(6, 1), c=(3, 1), d=(2, 9), e=(2, 8))
    assert default_members(tmp_path) == ("b", "e")
    for name in ("docs", "code"):
        assert default_members(family_folder(name)) == ("12b", "4b")


def test_a_family_of_one_depth_or_none_has_no_default_members(tmp_path):
    with pytest.raises(StepimpError, match=f"{tmp_path} holds no family: train one"):
        default_members(tmp_path)
    manifest(tmp_path, a=(6, 1), b=(6, 2))
    with pytest.raises(StepimpError, match="same depth: name the heavy and the light model"):
        default_members(tmp_path)


def test_the_other_seed_is_as_deep_whatever_its_name(tmp_path):
    manifest(tmp_path, a=(6, 1), b=(6, 3), c=(6, 2), d=(2, 2))
    assert [other_seed(tmp_path, name) for name in ("a", "c", "d", "x")] == ["c", "a", None, None]
    assert other_seed(family_folder(), "12b") == "12b_seed2"


def test_the_other_seed_is_the_member_that_says_so(tmp_path):
    """Members that were added have seed 1 unless they are another's seed."""
    manifest(tmp_path, a=(6, 1), b=(6, 1), c=(6, 2), d=(6, 3), trained=(6, 2))
    whole = read_manifest(tmp_path)
    for name in "abcd":
        whole["members"][name]["checkpoint"] = name
    for name in "cd":
        whole["members"][name]["seed_of"] = "b"
    write_manifest(tmp_path, whole)
    seeds = {name: other_seed(tmp_path, name) for name in ("a", "b", "c", "d", "trained")}
    assert seeds == {"a": None, "b": "c", "c": "b", "d": "b", "trained": None}
