"""The schedule explorer of the report: its points, its charts and its words."""

import re
from html import unescape

from by_hand import CURVES, curve_rows
from filled import recommendation
from read_page import Elements, data_of, whole

from stepimp.plots.charts import place
from stepimp.plots.explorer import explorer


def test_the_explorer_steps_through_the_trade_off_and_the_recommendation():
    document = recommendation()
    data, slider = data_of(whole(document)), Elements(whole(document)).named("input")[0][1]
    assert [point["schedule"] for point in data["tradeoff"]] == ["H10", "L3,H7", "L5,H5", "L10"]
    points = [data["tradeoff"][k] for k in (0, 2, 3)]
    assert all(row.items() <= point.items() for row, point in zip(document["tradeoff"], points))
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "1") and data["start"] == 1
    point = data["tradeoff"][1]
    assert point["segments"] == [["4b", 3], ["12b", 7]]
    assert (point["texts"]["light"], point["texts"]["saved"], point["texts"]["change"]) == (
        "30.0%",
        "15.0%",
        "+0.3000",
    )
    assert point["texts"]["path_kl_nats"] == "0.3000 [0.2000, 0.4000]"
    assert point["texts"]["command"] == "stepimp generate --schedule L3,H7 --heavy 12b --light 4b"
    shown = {
        element[1]["data-shows"]
        for element in Elements(whole(document)).found
        if "data-shows" in element[1]
    }
    assert (
        shown <= point["texts"].keys()
        and {"schedule", "saved", "path_kl_nats", "nelbo_nats"} <= shown
    )
    assert all(
        model in data["models"] for point in data["tradeoff"] for model, _ in point["segments"]
    )


def test_several_light_models_and_saved_flops():
    document = recommendation(
        lights=("4b", "8b"),
        tradeoff=("12b:10", "8b:5,12b:5", "4b:10"),
        chosen="4b:2,8b:2,12b:6",
        save_flops=True,
        by="nelbo",
    )
    data = data_of(whole(document))
    assert data["tradeoff"][1]["segments"] == [["4b", 2], ["8b", 2], ["12b", 6]]
    assert data["tradeoff"][1]["texts"]["budget"] == "15.0%"
    text = unescape(whole(document))
    assert (
        "saved FLOPs of the blocks" in text
        and "Objective: predicted NELBO (nats per token)" in text
    )
    assert text.count('class="line"') == 3


def test_the_curve_of_importance_runs_from_1_to_0_with_its_band():
    rising = curve_rows(CURVES["kl"], lambda t: t)
    curve = explorer(recommendation() | {"curves": rising})["curve"]
    line = re.search(r'd="M([^"]*)" stroke="#[0-9a-f]{6}" class="line"', curve)[1]
    points = [tuple(map(float, pair.split())) for pair in line.split("L")]
    assert [x for x, _ in points] == [75, 50, 25, 0]
    heights = [y for _, y in sorted(points)]
    assert heights == sorted(heights), (
        "the rows fall towards t = 0, at the right: lower is further down"
    )
    band = re.search(r'd="M([^Z]*)Z"', curve)[1].split("L")
    assert len(band) == 8 and place(0.5, (1, 0)) == 50


def test_curves_without_bands_and_a_flat_trade_off():
    document = recommendation(tradeoff=("H10",), chosen="H10")
    for row in document["curves"] + document["tradeoff"] + document["rows"]:
        row |= {key: None for key in row if key.endswith(("_low", "_high"))}
    document["rows"][0] |= {"light_fraction": 0.0, "saved_flops": 0.0}
    document["boundaries"] = {"agreement": 1.0, "moves": []}
    text = whole(document)
    assert data_of(text)["tradeoff"][0]["texts"]["path_kl_nats"] == "0.0000"
    assert 'class="band"' not in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_relative_kl_that_is_nowhere_above_0_is_warned_of():
    document = recommendation()
    assert "cannot tell steps apart" not in whole(document)
    for row in document["curves"]:
        row["relative_kl_nats_low"] = -0.1
    assert "cannot tell steps apart" in whole(document)
    document["params"] |= {"by": "nelbo"}
    assert "cannot tell steps apart" not in whole(document)
