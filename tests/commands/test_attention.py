"""--attn is in a run's key where it is not what `auto` chooses: roundings of two implementations
never meet in one document, and documents of earlier versions keep their names.
"""

import pytest
from outcomes import NEEDS

OPTIONS = {
    "kl": [],
    "cascade": ["--heavy", "2b", "--light", "1b", "--sequences", 8, "--points", 2, "--length", 8],
    "compare": NEEDS["compare"],
    "generate": ["--schedule", "H4", "--length", 8, "--samples", 1],
    "profile": ["--steps", 4, "--samples", 1, "--length", 8, "--repeats", 1, "--points", 2],
    "search": ["--segments", 2, "--light-segments", 1, "--steps", 4, "--samples", 2, "--length", 8],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_each_attention_has_its_own_document(run, tmp_path, tiny_text, command):
    options = [*OPTIONS[command], *(["--data", tiny_text] if command in ("kl", "cascade") else [])]
    if command == "search":
        run("kl")
    folder = tmp_path / "results"

    def documents(*more):
        outcome = run(command, *options, *more)
        assert outcome.code == 0, outcome.stderr
        return {
            path.name
            for kind in (command, "curves", "samples")
            for path in folder.glob(f"{kind}-*.json*")
            if command == "kl" or kind != "curves"
        }

    usual = documents()
    assert usual and documents("--attn", "sdpa") == usual  # on this CPU auto is sdpa
    other = documents("--attn", "eager") - usual
    assert {name.partition("-")[0] for name in other} == {name.partition("-")[0] for name in usual}
