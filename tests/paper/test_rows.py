from by_hand import LIGHTS, comparison, fractions, plans, sizes

from stepimp.paper.numbers import paper
from stepimp.paper.rows import by_fraction, by_light, hand_crafted, light_of_depth, schedule_of
from stepimp.schedules.schedule import parse


def test_hand_crafted_schedules_are_known_by_their_steps_and_not_by_name():
    document = comparison()
    for row in document["rows"]:
        row["name"] = "given"
    assert {name: row["schedule"] for name, row in hand_crafted(document).items()} == {
        "all-light": "L8",
        "1st quarter": "L2,H6",
        "2nd quarter": "H2,L2,H4",
        "3rd quarter": "H4,L2,H2",
        "4th quarter": "H6,L2",
        "sandwich": "L1,H6,L1",
        "all-heavy": "H8",
    }


def test_with_several_light_models_the_shallowest_counts_unless_one_is_asked_for():
    assert {row["light"] for row in hand_crafted(sizes()).values()} == {"4b", None}
    for light in LIGHTS:
        rows = hand_crafted(sizes(), light)
        assert {row["light"] for row in rows.values()} == {light, None}
        assert [schedule_of(row, sizes()) for row in rows.values()] == list(
            plans(8, light).values()
        )


def test_a_light_model_is_known_by_its_share_of_the_heavy_models_blocks():
    document = sizes()
    assert [light_of_depth(document, depth) for depth in (4, 6, 8, 10, 11)] == [*LIGHTS, None]
    document["blocks"] = {name: 2 * blocks for name, blocks in document["blocks"].items()}
    assert light_of_depth(document, 6) == "6b"


def test_sandwiches_by_size_and_by_fraction():
    assert list(by_light(sizes())) == list(LIGHTS)
    assert {row["schedule"] for row in by_light(sizes()).values()} == {"L1,H6,L1"}
    assert {part: row["schedule"] for part, row in by_fraction(fractions()).items()} == {
        0: "H8",
        25: "L1,H6,L1",
        50: "L2,H4,L2",
        75: "L3,H2,L3",
        100: "L8",
    }


def test_the_published_schedules_are_in_the_order_of_ours():
    for name in (
        "table3_prefix_256",
        "table4_lm1b",
        "table5_unconditional_entropy",
        "table6_prefix_128",
    ):
        published = [parse(row["schedule"], "12b", "4b") for row in paper()[name]["rows"]]
        assert published == list(plans(published[0].steps).values())
