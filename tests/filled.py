"""Results documents written by hand that fill every need of the paper."""

from by_hand import (
    CURVES,
    around,
    comparison,
    curve_rows,
    curves,
    document,
    fractions,
    lm1b,
    search,
    sizes,
    write,
)

from stepimp.intervals import Estimate

COSTS = ("path_kl_nats", "nelbo_nats", "objective")


def costed(schedule, light, name="best"):
    """A row of `recommend`: all its costs are the light fraction."""
    costs = {}
    for cost in COSTS:
        costs |= around(cost, light)
    return {
        "name": name,
        "schedule": schedule,
        "light_fraction": light,
        "saved_flops": light / 2,
    } | costs


def recommendation(
    heavy="12b",
    lights=("4b",),
    tradeoff=("H10", "L5,H5", "L10"),
    chosen="L3,H7",
    columns=(*CURVES["kl"], *CURVES["loss"]),
    curve_models=None,
    **changes,
):
    """A document of `recommend` whose recommendation lies between two points of its trade-off.

    columns, curve_models: of its curves, by default the light models'.
    """
    read = {"heavy": heavy, "lights": list(lights), "baseline": "12b_seed2", "data": "docs"}
    read |= {"inputs": "text", "length": 64, "seed": 0, "family": None}
    asked = {"by": "kl", "segments": 3, "steps": 10, "save_flops": False, "budget": 0.3}
    blocks = {light: 4 + 2 * k for k, light in enumerate(lights)}
    moves = [{"before": lights[0], "after": heavy, "t": 0.7, "t_low": 0.6, "t_high": 0.8}]
    rows = [costed(chosen, 0.3, "recommended"), costed("L2,H6,L2", 0.4, "sandwich")]
    rows += [costed(tradeoff[0], 0.0, "all-heavy"), costed(tradeoff[-1], 1.0, "all-light")]
    rows = [{"rank": rank} | row for rank, row in enumerate(rows, 1)]
    return document(
        "recommend",
        read | asked | {"family": None} | changes,
        rows,
        blocks={heavy: 12, "12b_seed2": 12} | blocks,
        tradeoff=[costed(text, k / (len(tradeoff) - 1 or 1)) for k, text in enumerate(tradeoff)],
        curves=curve_rows(columns, models=curve_models or lights),
        curve_params=dict(read),
        boundaries={"agreement": 0.5, "moves": moves},
    )


def over_masked():
    """A document of `recommend --over masked`."""
    advice = recommendation(save_flops=False)
    cells = {"forwards": 8.0, "heavy_forwards": 6.0, "best_over_steps": "L3,H7"}
    cells |= around("over_steps_diff_nats", -0.01)
    for part in ("rows", "tradeoff"):
        advice[part] = [row | cells for row in advice[part]]
    for rank, row in enumerate(advice["rows"], 1):
        row["rank"] = rank
    del advice["boundaries"]
    return advice | {"command": "recommend_masked", "path": "recommend_masked-0.json"}


def plan():
    """A document of `plan`."""

    def row(name, schedule, passes, cost, nats, **cells):
        counted = {"name": name, "schedule": schedule, "light_fraction": 0.5, "saved_flops": 0.3}
        for column in COSTS:
            counted |= around(column, nats)
        return counted | {"forwards": passes, "heavy_forwards": cost} | cells

    def planned(name, cost, nats):
        cells = {"passes": "1 of 4b, 2 of 12b"} | around("objective_diff_nats", 0.0)
        return row(name, "L*4,H*2x2", 3.0, cost, nats) | cells

    advice = recommendation()
    params = {name: advice["params"][name] for name in ("heavy", "lights", "baseline", "family")}
    params |= {"forwards": 4.0, "budget": 0.5, "by": "nelbo", "curves": "curves-0.json", "seed": 0}
    return document(
        "plan",
        params,
        [planned("recommended", 2.0, 3.2), planned("best of 12b alone", 2.0, 3.3)],
        frontier=[planned("best", cost, 4 - cost / 4) for cost in (0.5, 1.0, 2.0, 4.0)],
        fixed=[
            row(name, text, float(steps), cost * steps, 4.2 - cost * steps / 5, steps=steps)
            for name, text, cost in (("all-heavy", "12b:1", 1.0), ("all 4b", "4b:1", 1 / 3))
            for steps in (1, 2, 4)
        ],
        curves=advice["curves"],
        curve_params=advice["curve_params"],
    )


def policies():
    """A document of `compare --policies`: of the policies at equal cost one is better than the best
    schedule over steps, one is worse, and one cannot be told from it.
    """
    policies = {
        "all-heavy": ("H10", 8.0, -0.03, "other cost"),
        "best over steps": ("L4,H6", 6.0, 0.0, "the reference"),
        "best over n": ("L@8-5,H@5-0", 5.9, -0.001, "not better"),
        "plan": ("L*2,H*6", 5.8, -0.02, "better"),
        "cascade": ("cascade(1.5)", 6.1, 0.04, "worse"),
        "draft and verify": ("draft(4)", 9.0, -0.03, "other cost"),
    }
    rows = []
    for name, (text, cost, difference, verdict) in policies.items():
        row = {"name": name, "policy": text, "heavy_forwards": cost, "verdict": verdict}
        row |= {"predicted_heavy_forwards": None if name == "draft and verify" else cost}
        row |= {"forwards_heavy": cost - 1, "forwards_light": 3.0, "sequential_heavy": cost - 2}
        row |= around("predicted_nelbo_nats", 3.1 + 0.9 * difference)
        row |= around("predicted_path_kl_nats", 0.02) | around("nelbo_nats", 3.2 + difference)
        row |= around("nelbo_diff_nats", difference, 0.01 if difference else 0.0)
        row |= around("gen_ppl", 200.0) | around("corpus_ppl", 180.0) | around("entropy_nats", 3.8)
        row |= around("log_ppl_diff", 0.02) | {"seconds": 6.0, "samples": 5, "empty": 0}
        rows.append(row)
    params = {"heavy": "12b", "light": "4b", "save_flops": 0.25, "steps": 10, "samples": 5}
    params |= {"sequences": 7, "length": 8, "judge": "/home/me/judge", "curves": "curves-0.json"}
    return document("policies", params | {"family": None, "seed": 0}, rows)


def profile():
    """A document of `profile`."""
    parts = [
        {"kind": "part", "model": model, "sampler": way, "part": part, "share": share}
        | {"speedup_bound": 5.0, "seconds": share, "outside_share": 0.2}
        for model in ("12b", "4b")
        for way in ("stepimp", "published")
        for part, share in (("body", 0.8), ("projection", 0.1), ("draw", 0.06), ("rest", 0.04))
    ]
    savings = [
        {"kind": "saving", "schedule": text, "light_fraction": x, "saved_flops": x * 2 / 3}
        | {"saved_flops_exact": x * 0.7, "seconds": 1 - x / 2, "forwards": 9, "sample_steps": 20}
        | {"tokens_per_second": 16.0}
        | Estimate(x * 0.6, x * 0.6 - 0.02, x * 0.6 + 0.02).columns("saved_seconds")
        for text, x in (("H10", 0.0), ("L3,H5,L2", 0.5), ("L10", 1.0), ("L1,H9", 0.1))
    ]
    params = {"heavy": "12b", "light": "4b", "schedule": "L1,H9", "steps": 10, "length": 8}
    params |= {"samples": 2, "batch_size": 2, "dtype": "float32", "repeats": 3, "family": None}
    return document("profile", params, parts + savings)


def filled(**options):
    """{need: a document that fills it}, as the paper has it. options: of the comparisons."""
    return {
        "loss": curves("loss"),
        "kl": curves("kl"),
        "recommend": recommendation(),
        "masked": over_masked(),
        "plan": plan(),
        "policies": policies(),
        "unconditional": sizes(**options),
        "light_fractions": fractions(**options),
        "prefix_256": comparison(prefix_length=32, **options),
        "prefix_128": comparison(prefix_length=16, **options),
        "search": search([0, 0.2, 0.5, 0.5, 0.2, 0]),
        "profile": profile(),
        "kl_lm1b": curves("kl", family="code"),
        "lm1b": lm1b(**options),
    }


def by_need():
    """{need: document} of all needs: one comparison fills those of every light model."""
    documents = filled()
    shared = ("light_6", "light_8", "light_10", "light_sizes")
    return documents | {need: documents["unconditional"] for need in shared}


def write_all(folder):
    """A file for each document of `filled`: {need: path}."""
    return {need: write(folder, content, need) for need, content in filled().items()}
