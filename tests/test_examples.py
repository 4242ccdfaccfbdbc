"""Every command is documented, and every example of `--help`, README, docs and tutorial runs."""

import json
import re
import shutil
from unittest.mock import patch

import click
import pytest
import torch
from documents import call
from examples import COMMANDS, PAGES, ROOT, command_of, examples, inline, python_blocks
from page_makers import page_maker

from stepimp.sampling.order_rules import ORDERS

EXAMPLES, PYTHON = examples(), python_blocks()
# blocks of the bundled family's members here; the names are those of the documentation
MEMBERS = {"4b": (1, 1), "6b": (1, 2), "8b": (2, 1), "10b": (2, 2), "12b": (3, 1)}
MEMBERS |= {"12b_seed2": (3, 2), "L12": (3, 3), "L4": (1, 3)}
# these train, need a network or a GPU, or take minutes: parsed only
PARSED = {"train", "judge", "convert", "add", "reproduce", "doctor"}
# every option that makes a run small; those given later win
SMALL = {"--sequences": "4", "--points": "2", "--samples": "2", "--only": "5"}
SMALL |= {"--segments": "4", "--light-segments": "2", "--repeats": "1", "--length": "24"}
SMALL |= {"--workers": "1"}


@pytest.fixture(scope="module")
def documented(tmp_path_factory, tiny_family, tiny_text, random_model):
    """A folder with a family that has the names of the documentation's, and curves of it."""
    from stepimp.models.checkpoints import fingerprint
    from stepimp.models.family import SCHEMA, write_manifest
    from stepimp.models.loading import load_tokenizer

    home = tmp_path_factory.mktemp("documented")
    family, facts = home / "family", {}
    tokenizer = load_tokenizer(str(tiny_family))
    for name, (blocks, seed) in MEMBERS.items():
        sizes = dict(n_blocks=blocks, vocab_size=len(tokenizer), model_length=96)
        model = random_model(10 * blocks + seed, **sizes)
        model.save_pretrained(family / name)
        tokenizer.save_pretrained(family / name)
        facts[name] = {
            "blocks": blocks,
            "seed": seed,
            "heldout_nelbo_nats": 5.0,
            "fingerprint": fingerprint(model),
            "data": str(tiny_text),
        }
    write_manifest(family, {"schema": SCHEMA, "members": facts})
    shutil.copytree(tiny_family / "judge", family / "judge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPIMP_FAMILY", str(family))
        patch.setenv("STEPIMP_RESULTS", str(home / "results"))
        patch.chdir(home)
        lights = [word for light in ("4b", "6b", "8b", "10b") for word in ("--light", light)]
        small = ["--sequences", 4, "--points", 4, "--length", 24]
        call("kl", "--heavy", "12b", *lights, "--baseline", "12b_seed2", *small)
        call("kl", "--heavy", "12b", *lights, "--baseline", "12b_seed2", *small, "--by-masked")
        call("cascade", "--heavy", "12b", "--light", "4b", *small)
        call("generate", "--schedule", "L125,H750,L125", "--samples", 2)
        (home / "prompts.jsonl").write_text('{"prompt": "the step"}\n{"infill": "a{2} of{}"}\n')
        yield home


SNAPSHOT = re.compile(r"^runs/\w+/(\w+)\.snapshots/\d+$")  # stands for the member itself


def parsed(words: list[str]) -> click.Context:
    """The command line, parsed and not run."""
    command, rest = command_of(words)
    return command.make_context(command.name, list(rest))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_parses(example, monkeypatch):
    monkeypatch.setattr(
        "stepimp.text.files.require_there", lambda data: None
    )  # texts of the reader
    parsed(EXAMPLES[example])


def runs(words: list[str]) -> bool:
    """Whether a line of the documentation is run here; estimates of `reproduce` start processes."""
    return command_of(words)[0].name not in PARSED and words[:2] != ["estimate", "reproduce"]


@pytest.mark.parametrize("example", [it for it in EXAMPLES if runs(EXAMPLES[it])])
def test_an_example_runs(example, documented):
    words = EXAMPLES[example]
    command, _ = command_of(words)
    options = {name for option in command.params for name in option.opts}
    files = {file.suffix: str(file) for file in (documented / "results").glob("generate-*")}
    words = [files[".jsonl"] if word.startswith("results/") else word for word in words]
    words = [SNAPSHOT.sub(str(documented / "family") + r"/\1", word) for word in words]
    small = smaller(words, command.name, documented / "family")
    added = [word for name, value in small.items() if name in options for word in (name, value)]
    call(*words, *added)


def smaller(words: list[str], command: str, family) -> dict:
    """The options that make a run small and local, without those that would not count."""
    manifest = json.loads((family / "family.json").read_text("utf-8"))
    local = {"--data": manifest["members"]["4b"]["data"], "--judge": family / "judge"}
    small = SMALL | {"--family": family} | {n: v for n, v in local.items() if n in words}
    needless = {"--sequences"} if "--until" in words else set()
    if command == "recommend" and "--verify" not in words:
        needless |= {"--samples", "--judge"}
    if "--policies" in words:
        needless |= {"--length"}
    elif command == "compare":
        needless |= {"--sequences"}
    if "--device" in words:
        small |= {"--device": "cpu"}
    return {name: value for name, value in small.items() if name not in needless}


@pytest.mark.parametrize("page", PYTHON)
def test_python_code_runs(page, documented):
    threads = torch.get_num_threads()
    with patch.dict(ORDERS):  # to which a page may add its own
        exec(compile(PYTHON[page], page, "exec"), {})
    torch.set_num_threads(threads)


@pytest.mark.parametrize("mention", inline())
def test_a_command_in_running_text_exists_with_its_options(mention):
    command, rest = command_of(inline()[mention])
    if command.name == "estimate" and tuple(rest[:1]) in COMMANDS:  # whose options follow
        command, rest = command_of(rest)
    assert command.name != "main" or rest[0].startswith("--"), mention
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= names | {"--help", "--version"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_is_in_the_documentation_beside_its_help(path):
    line = f"stepimp {' '.join(path)}"
    assert any(line in page.read_text("utf-8") for page in PAGES), (
        f"show `{line}` in README.md or a page of docs/"
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_page_of_commands_has_each_with_all_its_options(path):
    page = page_maker("make_commands").command_page()
    (section,) = re.findall(rf"^## stepimp {' '.join(path)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.opts[0]} has no help="
            assert set(option.opts) <= set(re.findall(r"--?[a-z][\w-]*", section))


def test_the_tables_of_the_bundled_families_are_those_of_the_reference_run():
    page = (ROOT / "docs" / "bundled.md").read_text("utf-8")
    made_now = page_maker("make_bundled").page()
    assert page == made_now, "write it again: python docs/make_bundled.py"
    assert "| 12b_seed2 |" in page


def test_paths_in_the_documentation_exist():
    for page in PAGES:
        for path in re.findall(
            r"`((?:stepimp|tests|docs|fixtures|plots)/[\w./]+)`", page.read_text()
        ):
            assert (ROOT / path).exists(), (page.name, path)


def test_links_of_pages_lead_to_files_of_the_checkout():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text("utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), (page.name, link)


def test_make_targets_in_the_documentation_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
        assert set(named) <= targets, page.name
