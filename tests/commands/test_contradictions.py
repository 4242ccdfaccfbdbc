"""Options that exclude each other, or what is there already, are bad usage: nothing is silently
ignored.
"""

import pytest
from outcomes import JUDGE, NEEDS, TRAIN

OPTIONS = {
    "kl": (["--until", 0.5, "--sequences", 4], "--sequences does not count with --until"),
    "compare": (
        ["--data", "docs", *NEEDS["compare"]],
        "--data counts with --prefix-length alone",
    ),
    "generate": (["--schedule", "L*4", "--steps", 9], "takes neither a T nor a sampler"),
    "search": (["--top", 3], "--top counts with --race alone"),
    "recommend": (["--samples", 8], "--samples counts with --verify alone"),
    "train": (
        ["folder", "--tokenizer", "x", "--vocab-size", 300],
        "--vocab-size does not count with --tokenizer",
    ),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_an_option_that_would_not_count(run, written, command):
    options, message = OPTIONS[command]
    outcome = run(command, *options)
    assert outcome.code == 2 and message in outcome.message
    assert written() == []


@pytest.mark.parametrize("command", ["compare", "search", "profile"])
def test_a_light_model_deeper_than_the_heavy_one(run, written, command):
    outcome = run(command, *NEEDS[command], "--heavy", "1b", "--light", "2b")
    assert outcome.code == 2 and written() == []
    assert "The light model 2b is deeper than the heavy model 1b: exchange" in outcome.message


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_text):
    """A folder with a trained member and a trained judge."""
    from documents import call

    folder = tmp_path_factory.mktemp("finished")
    for command, options in (("train", TRAIN), ("judge", JUDGE)):
        call(command, folder, "--data", tiny_text, *options)
    return folder


OTHERWISE = [
    ("train", ["--steps", 3], "steps 2, not 3"),
    ("train", ["--width", 16], "hidden_dim 8, not 16"),
    ("train", ["--seed", 7], "seed 1, not 7"),
    ("train", ["--weights", "float16"], "weights float32, not float16"),
    ("train", ["--noise", "loglinear"], "noise linear, not loglinear"),
    ("judge", ["--steps", 3, "--layers", 2], "steps 2, not 3"),
    ("judge", ["--layers", 2], "n_layer 1, not 2"),
    ("judge", ["--seed", 7], "seed 1, not 7"),
    ("judge", ["--vocab-size", 266], "vocabulary 262, not 266"),
]


@pytest.mark.parametrize("command, options, message", OTHERWISE)
def test_a_finished_training_is_not_taken_for_another(
    run, finished, tiny_text, command, options, message
):
    given = {"train": TRAIN, "judge": JUDGE}[command]
    kept = [pair for pair in zip(given[::2], given[1::2]) if pair[0] not in options]
    unchanged = [word for pair in kept for word in pair]
    outcome = run(command, finished, "--data", tiny_text, *unchanged, *options)
    assert outcome.code == 2 and message in outcome.message
    assert "is finished" in outcome.message and "train into a new folder" in outcome.message


@pytest.mark.parametrize("command, options", [("train", TRAIN), ("judge", JUDGE)])
def test_a_finished_training_is_not_taken_for_one_on_another_text(
    run, finished, tiny_text, tmp_path, command, options
):
    (tmp_path / "other.txt").write_text(tiny_text.read_text("utf-8").replace("model", "mödel"))
    outcome = run(command, finished, "--data", tmp_path / "other.txt", *options)
    assert outcome.code != 0 and outcome.message


@pytest.mark.parametrize("command, options", [("train", TRAIN), ("judge", JUDGE)])
def test_the_same_training_is_left_alone(run, finished, tiny_text, tmp_path, command, options):
    (tmp_path / "copy.txt").write_bytes(tiny_text.read_bytes())
    for data in (tiny_text, tmp_path / "copy.txt"):
        assert run(command, finished, "--data", data, *options, "--save-every", 9).code == 0
