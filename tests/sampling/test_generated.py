"""`generate_texts`: where its schedule and its models come from."""

import pytest

from stepimp.errors import StepimpError
from stepimp.models.family import recorded
from stepimp.sampling.chosen import read_saved
from stepimp.sampling.generated import GenerateOptions, generate_texts
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import SavedSchedule


@pytest.fixture
def chosen(tiny_family, tmp_path):
    """Options of two short texts, in a results folder of their own."""

    def options(**others):
        sizes = dict(samples=2, length=8, dtype="float64")
        return GenerateOptions(family=str(tiny_family), out=str(tmp_path), **sizes, **others)

    return options


def advice(family, fingerprints=None) -> dict:
    """As much of a recommendation with three models as is read of it."""
    return {
        "params": {"heavy": "2b", "lights": ["2b_seed2", "1b"], "family": recorded(family)},
        "blocks": {"2b": 2, "2b_seed2": 2, "1b": 1},
        "rows": [{"schedule": "L2,H4"}],
        "provenance": {"fingerprints": {"models": fingerprints or {}}},
        "path": "recommend-0.json",
    }


def not_needed():
    raise AssertionError("a schedule was given")


def test_without_any_recommendation_one_is_made_and_l_is_its_shallowest_model(chosen):
    options = chosen(heavy="1b", light="2b")
    document, texts = generate_texts(options, lambda: advice(options.family))
    params = document["params"]
    assert (params["schedule"], params["heavy"], params["light"]) == ("L2,H4", "2b", "1b")
    assert document["provenance"]["fingerprints"]["models"].keys() == {"1b", "2b"}
    assert [text["index"] for text in texts] == [0, 1]


def test_a_recommendation_for_other_weights_is_refused(chosen, tmp_path):
    options = chosen()
    with pytest.raises(StepimpError, match="made for other weights of 1b"):
        generate_texts(options, lambda: advice(options.family, {"1b": "0" * 12}))
    assert not list(tmp_path.iterdir())


def test_letters_that_are_not_named_are_the_deepest_and_the_shallowest(chosen):
    params = generate_texts(chosen(schedule="L2,H4"), not_needed)[0]["params"]
    assert (params["heavy"], params["light"]) == ("2b", "1b")
    params = generate_texts(chosen(schedule="L2,H4", light="2b_seed2"), not_needed)[0]["params"]
    assert (params["heavy"], params["light"]) == ("2b", "2b_seed2")


def test_models_by_name_need_no_manifest(chosen, tiny_family, tmp_path):
    elsewhere = dict(vars(chosen()), family=str(tmp_path / "none"))
    named = GenerateOptions(**elsewhere | {"schedule": f"{tiny_family / '1b'}:3"})
    params = generate_texts(named, not_needed)[0]["params"]
    assert (params["heavy"], params["light"]) == (None, None)
    with pytest.raises(StepimpError, match="no light model is given"):
        generate_texts(GenerateOptions(**elsewhere | {"schedule": "L3"}), not_needed)


def test_a_schedule_file_may_begin_with_a_byte_order_mark_and_is_named_where_it_is_wrong(tmp_path):
    file, saved = tmp_path / "plan.json", SavedSchedule(Plan((("2b", 3),)))
    file.write_text(saved.to_json(), "utf-8-sig")
    assert read_saved(str(file)) == saved
    file.write_text("{}")
    with pytest.raises(StepimpError, match="plan.json: Not a schedule file: .* lacks 'format'"):
        read_saved(str(file))
