"""Given text around what is generated."""

import io
import json

import pytest
from click.testing import CliRunner
from fakes import jsonl

from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.errors import StepimpError
from stepimp.sampling.prompts import Prompt, continued, read_prompts, tokens_of, with_gaps

SMALL = ["--schedule", "L3,H5", "--heavy", "2b", "--light", "1b", "--samples", "2"]


@pytest.mark.parametrize(
    "text, parts",
    [
        ("The {} of {12}.", ("The ", None, " of ", 12, ".")),
        ("{3}", (3,)),
        ("a {{}} b {{7}} c{}", ("a {} b {7} c", None)),
        ("if x: {y} {", ("if x: {y} {",)),
        ("a<m>b<m><m>", ("a", 1, "b", 1, 1)),
    ],
)
def test_gaps_are_read(text, parts):
    assert with_gaps(text, "<m>") == Prompt(parts)


def test_a_prefix_is_plain_text_and_a_prompt_has_mask_tokens():
    assert continued("a<m>{}", "end") == Prompt(("a<m>{}", None, "end"))
    assert continued("a<m>{}", "", "<m>") == Prompt(("a", 1, "{}", None))


def test_files_and_standard_input(tmp_path, monkeypatch):
    text = tmp_path / "prompt.py"
    text.write_text("x = {}\n")
    assert read_prompts(str(text)) == [Prompt(("x = {}", None))]
    rows = [
        {"prompt": "a"},
        {"text": "b", "suffix": "c"},
        {"infill": "d{2}e"},
    ]
    many = [Prompt(("a", None)), Prompt(("b", None, "c")), Prompt(("d", 2, "e"))]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_prompts(str(file)) == many
    for marked, prompts in ((text, [Prompt(("x = {}", None))]), (file, many)):
        marked.write_text(marked.read_text("utf-8"), "utf-8-sig")
        assert read_prompts(str(marked)) == prompts
    for piped, prompts in ((file.read_text("utf-8"), many), ("a\n", many[:1])):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        assert read_prompts("-") == prompts


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "line 2, is not valid JSON"),
        ('{"prompt": 3}', "line 2, is not a prompt such as"),
        ('{"prompt": "a", "infill": "b"}', "line 2, is not a prompt"),
        ('{"infill": "a{}", "suffix": "b"}', "line 2, is not a prompt"),
    ],
)
def test_lines_that_are_no_prompts(tmp_path, line, message):
    file = tmp_path / "many.jsonl"
    file.write_text('{"prompt": "a"}\n' + line + "\n")
    with pytest.raises(StepimpError, match=message):
        read_prompts(str(file))


@pytest.fixture(scope="module")
def family(tiny_family):
    from stepimp.models.loading import load

    return load(["1b"], tiny_family, "cpu", "float64")


def test_open_gaps_share_what_is_left(family):
    mask = family.any.mask_id
    tokens = tokens_of(with_gaps("the{}model{}of{2}"), family, 20).tolist()
    given = [token for token in tokens if token != mask]
    assert family.tokenizer.decode(given) == "themodelof"
    left = 20 - len(given) - 2
    gaps = [len(list(run)) for run in runs(tokens, mask)]
    assert gaps == [left - left // 2, left // 2, 2] and len(tokens) == 20


def runs(tokens, mask):
    run = []
    for token in [*tokens, None]:
        if token == mask:
            run.append(token)
        elif run:
            yield run
            run = []


def test_a_text_whose_gaps_have_sizes_has_its_own_length(family):
    prompt = with_gaps("the{3}model")
    length = len(tokens_of(prompt, family, None))
    assert length < family.length
    with pytest.raises(StepimpError, match="no open gap"):
        tokens_of(prompt, family, length + 1)
    with pytest.raises(StepimpError, match="whole length"):
        tokens_of(prompt, family, length - 1)
    with pytest.raises(StepimpError, match="no gap to fill: write {} where"):
        tokens_of(with_gaps("the model"), family, None)


@pytest.fixture
def generate(tiny_family, tmp_path):
    def run(*arguments, code=0, stdin=None):
        where = ["--family", str(tiny_family), "--out", str(tmp_path / "out"), "--dtype", "float64"]
        result = CliRunner().invoke(main, ["generate", *SMALL, *where, *arguments], input=stdin)
        assert result.exit_code == code, result.output
        if code:
            return result.output
        (document,) = map(read_document, (tmp_path / "out").glob("generate-*.json"))
        (file,) = (tmp_path / "out").glob("generate-*.jsonl")
        return document, [json.loads(line) for line in file.read_text("utf-8").splitlines()]

    return run


def test_a_text_is_filled_in(generate):
    document, texts = generate("--infill", "the{} of{2}.", "--length", "14")
    assert document["params"]["infill"] == "the{} of{2}."
    assert all(text["text"].startswith("the") and text["text"].endswith(".") for text in texts)
    assert all(len(text["tokens"]) == 14 for text in texts)
    assert texts[0]["tokens"] != texts[1]["tokens"]


def test_a_suffix_ends_every_text(generate):
    document, texts = generate("--prefix", "the", "--suffix", "noise.", "--length", "12")
    assert all(text["text"].startswith("the") and text["text"].endswith("noise.") for text in texts)
    assert document["params"]["suffix"] == "noise."


def test_the_mask_token_in_a_prompt_is_filled_in_and_one_in_a_prefix_is_text(generate, tmp_path):
    _, texts = generate("--prompt", "-", "--length", "12", stdin="the<|mask|> model<|mask|>")
    assert all("<|mask|>" not in text["text"] for text in texts)
    assert all(text["text"].startswith("the") and " model" in text["text"] for text in texts)
    assert texts[0]["prefix"] == "the"


def test_many_prompts_of_several_lengths(generate, tmp_path):
    rows = [{"prompt": "the model"}, {"infill": "a{4}step"}, {"prompt": "noise", "suffix": "."}]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document, texts = generate("--prompt", str(file))
    assert [text["index"] for text in texts] == list(range(6))
    assert [text["prompt"] for text in texts] == [0, 0, 1, 1, 2, 2]
    assert texts[2]["text"].startswith("a") and texts[2]["text"].endswith("step")
    assert len(texts[2]["tokens"]) < len(texts[0]["tokens"]) == document["rows"][0]["length"] == 32
    assert document["rows"][0]["samples"] == 6
    assert texts[5]["text"].startswith("noise") and texts[5]["text"].endswith(".")


def test_one_prompt_of_many_has_the_tokens_of_itself_alone(generate, tmp_path, tiny_family):
    """A sample is a function of its index and its prompt."""
    file = jsonl(tmp_path / "prompts.jsonl", ["the model", "a step", "the noise"])
    _, texts = generate("--prompt", str(file), "--length", "16")
    where = ["--family", str(tiny_family), "--out", str(tmp_path / "again"), "--dtype", "float64"]
    result = CliRunner().invoke(
        main, ["generate", *SMALL, *where, "--prefix", "the model", "--length", "16"]
    )
    assert result.exit_code == 0, result.output
    (again,) = (tmp_path / "again").glob("*.jsonl")
    alone = [json.loads(line)["tokens"] for line in again.read_text("utf-8").splitlines()]
    assert [text["tokens"] for text in texts[:2]] == alone


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--prefix", "a", "--infill", "b{}"], 2, "Choose one of"),
        (["--cascade", "1"], 2, "Choose one of a schedule and a cascade"),
        (["--infill", "the{0}"], 1, "gap of no tokens"),
        (["--infill", "the{40}"], 1, "outside 1..32"),
        (["--infill", "the{100000000000}"], 1, "outside 1..32"),
        (["--prompt", "nowhere.txt"], 1, "There is no file of prompts nowhere.txt: a text to"),
        (["--order", "eb:x"], 1, "Cannot read the level"),
        (["--precision", "mdlm", "--temperature", "0.5"], 1, "published sampler"),
    ],
)
def test_bad_input_is_one_message(generate, arguments, code, message):
    output = generate(*arguments, code=code)
    assert message in " ".join(output.split()) and "Traceback" not in output


@pytest.mark.parametrize(
    "arguments, schedule, forwards",
    [
        (["--sampler", "first-hitting"], "L3,H5", None),
        (["--order", "threshold:1"], "L3,H5", 2 * 8),
        (["--temperature", "0.7", "--top-p", "0.9"], "L3,H5", None),
    ],
)
def test_other_samplers_are_recorded(generate, arguments, schedule, forwards):
    document, texts = generate(*arguments, "--length", "8")
    params, row = document["params"], document["rows"][0]
    assert params["schedule"] == schedule
    another = arguments[0] != "--sampler"
    assert ("law" in row) == another
    assert params.keys() & {"sampler", "order", "temperature", "top_p"} == {
        name.removeprefix("--").replace("-", "_") for name in arguments[::2]
    }
    if forwards:
        assert document["cost"]["forwards"] == forwards


@pytest.mark.parametrize(
    "text, written",
    [("L@8-4,H@4-0", "L@8-4,H@4-0"), ("L*2,H*2x3", "L*2,H*2x3")],
)
def test_schedules_over_masked_positions_and_plans(tiny_family, tmp_path, text, written):
    where = ["--family", str(tiny_family), "--out", str(tmp_path)]
    arguments = ["--schedule", text, *SMALL[2:], "--length", "8"]
    result = CliRunner().invoke(main, ["generate", *arguments, *where])
    assert result.exit_code == 0, result.output
    (document,) = map(read_document, tmp_path.glob("generate-*.json"))
    assert document["params"]["schedule"] == written
    assert document["cost"]["tokens"] == 16


def test_drafting_reports_its_calls_in_sequence(tiny_family, tmp_path):
    where = ["--family", str(tiny_family), "--out", str(tmp_path)]
    arguments = ["--draft", "4", *SMALL[2:], "--length", "8"]
    result = CliRunner().invoke(main, ["generate", *arguments, *where])
    assert result.exit_code == 0, result.output
    assert "calls of 2b in sequence per sample" in " ".join(result.output.split())
    (document,) = map(read_document, tmp_path.glob("generate-*.json"))
    cost = document["cost"]
    assert document["params"]["schedule"] == "draft(4)"
    assert 4 <= cost["sequential_of"]["2b"] <= 16 <= cost["forwards_of"]["2b"]
