"""How much a command is, before it runs."""

import pytest
from documents import call

from stepimp.commands import _work, main


def work(arguments, folder):
    params = _work.step_params(arguments, main)
    return _work.block_tokens(*params, folder, reads={"kl"})


LENGTH = 32  # of the tiny family
FORWARDS = 4 * (1 - (1 - 1 / 4) ** LENGTH)  # of a sample in 4 steps
MODELS = "--heavy 2b --light 1b"


# Of five samples the first event of each costs one forward pass for all: four fewer.
@pytest.mark.parametrize(
    ("command", "blocks_of_each_token"),
    [
        # at t = 1 one input serves for all of a batch
        ("loss --sequences 10 --points 3", (10 * 2 + 1) * (2 + 1)),
        ("kl --sequences 10 --points 3 --baseline 2b_seed2", (10 * 2 + 1) * (2 + 1 + 2)),
        # the sandwich is the first quarter at T = 4; two of the six begin light
        ("compare --samples 5 --steps 4", 5 * FORWARDS * (2 + 4 * 1.75 + 1) - 4 * (4 * 2 + 2)),
        (
            "compare --samples 5 --steps 4 --fractions 0:1:0.5",
            5 * FORWARDS * (2 + 1.5 + 1) - 4 * (2 + 1 + 1),
        ),
        ("compare --samples 5 --steps 4 --schedule L1,H3", 5 * FORWARDS * (2 + 1.75) - 4 * (2 + 1)),
        ("generate --samples 5 --schedule L1,H3", 5 * FORWARDS * 1.75 - 4),
        (
            "search --samples 5 --steps 4 --segments 2 --light-segments 1",
            5 * FORWARDS * 2 * 1.5 - 4 * (2 + 1),
        ),
        (
            "profile --samples 5 --steps 4 --points 3 --repeats 2",
            5 * FORWARDS * 2 * (2 + 2 + 1.5 + 1) - 4 * 2 * (2 + 2 + 1 + 1),
        ),
    ],
)
def test_the_work_of_a_command_is_tokens_times_blocks(command, blocks_of_each_token, tiny_family):
    counted = work([*command.split(), *MODELS.split()], tiny_family)
    assert counted == pytest.approx(LENGTH * blocks_of_each_token, rel=0.01)


def test_given_tokens_are_less_work_and_a_length_of_its_own_counts(tiny_family):
    compared = ["compare", *MODELS.split()]
    assert work([*compared, "--prefix-length", "8"], tiny_family) < work(compared, tiny_family)
    assert work([*compared, "--length", "8"], tiny_family) < work(compared, tiny_family)


def test_no_work_is_expected_of_what_reads_curves_or_will_fail(tiny_family):
    assert work(["recommend"], tiny_family) == 0
    assert work(["compare", "--heavy", "12b"], tiny_family) == 0, "the family has no 12b"


def test_an_estimate_of_more_schedules_than_a_search_takes_is_refused_at_once():
    ended = call("estimate", "search", "--segments", 100, "--light-segments", 50, code=1)
    assert "the most is 10,000" in ended.stderr
