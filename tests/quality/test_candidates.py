"""Which schedules a comparison holds side by side."""

from filled import costed

from stepimp.quality import candidates
from stepimp.quality.candidates import Candidate
from stepimp.results import Run
from stepimp.schedules.schedule import parse


def test_the_papers_seven():
    listed = {
        candidate.name: candidate.schedule.format("12b", "4b")
        for candidate in candidates.papers_seven(1000, "12b", "4b")
    }
    assert listed == {
        "all-light": "L1000",
        "1st quarter": "L250,H750",
        "2nd quarter": "H250,L250,H500",
        "3rd quarter": "H500,L250,H250",
        "4th quarter": "H750,L250",
        "sandwich": "L125,H750,L125",
        "all-heavy": "H1000",
    }


def test_a_sweep_of_the_sandwich():
    listed = candidates.sandwiches(10, [0, 0.2, 0.21, 1], "12b", "4b")
    assert [
        (candidate.name, candidate.light, candidate.schedule.format("12b", "4b"))
        for candidate in listed
    ] == [
        ("all-heavy", None, "H10"),
        ("sandwich", "4b", "L1,H8,L1"),
        ("all-light", "4b", "L10"),
    ]


def test_the_recommendation_is_of_these_models_steps_and_budget(tmp_path):
    prints = {"2b": "f2", "1b": "f1"}
    params = dict(heavy="2b", lights=["1b"], steps=8, budget=0.25, save_flops=False, seed=0)
    params |= dict(baseline=None, family=None, by="kl", segments=3)

    def write(**changes):
        run = Run(tmp_path, "recommend", {**params, **changes}, {"models": prints})
        blocks = {"2b": 2, "1b": 1, "3b": 3}
        run.finish([costed("H6,L2", 0.25) | {"rank": 1}], blocks=blocks)

    for other in (
        {"steps": 9},
        {"budget": 0.3},
        {"lights": ["1b", "3b"]},
        {"save_flops": True},
        {"heavy": "3b"},
    ):
        write(**other)
    assert candidates.recommended(tmp_path, 8, "2b", "1b", prints) is None
    write()
    assert candidates.recommended(tmp_path, 8, "2b", "1b", prints) == Candidate(
        "recommended", "1b", parse("H6,L2", "2b", "1b")
    )
    assert (
        candidates.recommended(tmp_path, 8, "2b", "1b", {**prints, "1b": "trained again"}) is None
    )
