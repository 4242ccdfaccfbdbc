"""Results documents whose content is chosen: of curves, comparisons and searches.

They have all the columns that `stepimp.rows` declares, and as measurements only what a test asks
for.
"""

import itertools
import json

import numpy as np

from stepimp.columns import view
from stepimp.curves.measurements import Measurements
from stepimp.intervals import Estimate, ratio
from stepimp.paper.rows import HAND_CRAFTED
from stepimp.schedules.schedule import hand_crafted, sandwich

BLOCKS = {"12b": 12, "4b": 4, "6b": 6, "8b": 8, "10b": 10, "12b_seed2": 12}
LIGHTS = ("4b", "6b", "8b", "10b")
# log-PPL above all-heavy, in the order of HAND_CRAFTED; as the paper has it
AS_PUBLISHED = dict(zip(HAND_CRAFTED, [0.22, 0.04, 0.11, 0.09, 0.06, 0.03, 0.0]))
CURVES = {
    "loss": ("loss_abs_diff_nats", "loss_diff_nats", "ce_nats", "ce_heavy_nats"),
    "kl": ("kl_nats", "baseline_kl_nats", "relative_kl_nats"),
}
PROVENANCE = {
    "version": "9.8",
    "git_commit": "abc123",
    "device": "cpu",
    "dtype": "float32",
    "seed": 7,
    "started": "2026-01-02T03:04:05+00:00",
    "wall_seconds": 1.5,
    "fingerprints": {"models": {"12b": "print-0", "4b": "print-1"}, "data": "print-data"},
}

CURVE_PARAMS = {
    "heavy": "12b",
    "lights": ["4b"],
    "baseline": "12b_seed2",
    "data": "docs",
    "inputs": "text",
    "length": 64,
    "seed": 0,
    "family": None,
}


def document(command, params, rows, **parts):
    """A results document. parts: what it has beside its rows."""
    provenance = PROVENANCE | {"command_line": f"stepimp {command}"}
    return {
        "schema": "stepimp/1",
        "command": command,
        "params": params,
        "blocks": BLOCKS,
        "rows": rows,
        "provenance": provenance,
        "path": f"{command}-0.json",
        **parts,
    }


def write(folder, content, name="0"):
    """Writes a document to a results folder and returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{content['command']}-{name}.json"
    path.write_text(json.dumps(content))
    return path


def around(name, value, half=0.1):
    """The three columns of a statistic with a symmetric interval."""
    return Estimate(value, value - half, value + half).columns(name)


def hill(t):
    """A curve with its peak in the middle."""
    return np.sin(np.pi * t)


def curve_rows(columns, shape=hill, models=("4b",), times=(0.25, 0.5, 0.75, 1.0), half=0.1):
    """A row for each model and time: every column is shape(t) times the place of its model."""
    rows = []
    for (place, model), t in itertools.product(enumerate(models, 1), times):
        row = {"t": t, "model": model, "sequences": 9}
        for column in columns:
            row |= around(column, float(place * shape(t)), half)
        rows.append(row)
    return rows


def curves(command="curves", lights=("4b",), rows=None, **params):
    """A document of curves, or of one view of them: loss or kl."""
    rows = rows or curve_rows([*CURVES["kl"], *CURVES["loss"]], models=lights)
    nelbo = {"4b": 3.2, "6b": 3.15, "8b": 3.1, "10b": 3.05, "12b": 3.0, "12b_seed2": 3.01}
    nelbo_rows = [
        {"model": model, "deeper": None if model.startswith("12b") else "12b"}
        | around("nelbo_nats", nelbo[model])
        | around("nelbo_diff_nats", nelbo[model] - nelbo["12b"])
        for model in (*lights, "12b", "12b_seed2")
    ]
    asked = CURVE_PARAMS | {"lights": list(lights)} | params
    whole = document(command, asked, rows, nelbo=nelbo_rows)
    return whole if command == "curves" else view(whole, command)


def plans(steps, light="4b"):
    """{name: schedule} of the paper's seven."""
    named = hand_crafted(steps, round(steps / 4), "12b", light)
    return {name: named[name] for name in HAND_CRAFTED}


def all_sizes(steps=8):
    """{name: (schedule, light)} of the paper's seven with each of four light models: 28 bars, of
    which all-heavy is one and the same.
    """
    return {
        name if light == "4b" else f"{light} {name}": (plan, None if name == "all-heavy" else light)
        for light in LIGHTS
        for name, plan in plans(steps, light).items()
        if light == "4b" or name != "all-heavy"
    }


def comparison(
    effects=AS_PUBLISHED, schedules=None, noise=0.001, entropy=(), samples=20, steps=8, **params
):
    """A document of `compare`.

    effects: {name: log-PPL above all-heavy}; schedules: {name: (schedule, light)}, else the paper's
    seven; noise: spread of the paired differences; entropy: {name: nats above all-heavy}.
    """
    schedules = schedules or {
        name: (schedule, None if name == "all-heavy" else "4b")
        for name, schedule in plans(steps).items()
    }
    draw, rows, each, entropy = np.random.default_rng(0), [], {}, dict(entropy)
    base = 3.8 + 0.3 * draw.standard_normal(samples)
    heavy_noise = noise * draw.standard_normal(samples)
    for name, (schedule, light) in schedules.items():
        heavy = schedule.models == ("12b",)
        log_ppl = (
            base
            + effects.get(name, 0.0)
            + (heavy_noise if heavy else noise * draw.standard_normal(samples))
        )
        nats = 5.2 + entropy.get(name, 0.0) + noise * draw.standard_normal(samples)
        each[schedule.format()] = {"log_ppl": log_ppl.tolist(), "entropy_nats": nats.tolist()}
        light_fraction = 1 - schedule.fraction("12b")
        rows.append(
            {
                "name": name,
                "schedule": schedule.format("12b", light),
                "light": light,
                "light_fraction": light_fraction,
                "saved_flops": light_fraction * 2 / 3,
                "saved_flops_exact": light_fraction * 0.7,
                **ratio(np.exp(log_ppl), log_scale=True).columns("gen_ppl"),
                **ratio(np.exp(log_ppl)).columns("corpus_ppl"),
                "samples": samples,
                "empty": 0,
                "samples_file": f"samples-{len(rows)}.journal",
                **ratio(nats).columns("entropy_nats"),
                **ratio(log_ppl - base - heavy_noise).columns("log_ppl_diff"),
                **ratio(nats - 5.2).columns("entropy_diff_nats"),
                **Estimate(9 - 3 * light_fraction, 8, 10).columns("seconds"),
                **Estimate(light_fraction / 3, 0, 0.5).columns("saved_seconds"),
            }
        )
    lights = list(dict.fromkeys(light for _, light in schedules.values() if light))
    asked = {
        "heavy": "12b",
        "lights": lights,
        "steps": steps,
        "samples": samples,
        "length": 128,
        "prefix_length": 0,
        "judge": "/home/me/judge",
        "family": None,
        "seed": 0,
    }
    return document("compare", asked | params, rows, pairs=[], per_sample=each)


def fractions(**options):
    """A comparison of sandwiches with more and more light steps."""
    plans = {n: sandwich(8, n, "12b", "4b") for n in (0, 2, 4, 6, 8)}
    effects = {f"{n} light": 0.02 * n for n in plans}
    schedules = {f"{n} light": (plan, "4b" if n else None) for n, plan in plans.items()}
    return comparison(effects, schedules, **options)


def sizes(**options):
    """A comparison of the paper's seven with each of four light models."""
    return comparison(schedules=all_sizes(), **options)


def lm1b(effects=AS_PUBLISHED, **options):
    """A comparison in the role of LM1B: as many steps as tokens."""
    return comparison(effects, **{"family": "code", "length": 8} | options)


def search(effects, segments=6, light=2, samples=30, noise=0.01, extremes=5, **params):
    """A document of `search`. effects: log-PPL that a light segment adds, by segment."""
    draw, log_ppl = np.random.default_rng(0), {}
    for chosen in itertools.combinations(range(segments), light):
        name = "".join("L" if k in chosen else "H" for k in range(segments))
        log_ppl[name] = sum(effects[k] for k in chosen) + 3 + noise * draw.standard_normal(samples)
    order = sorted(log_ppl, key=lambda name: np.exp(log_ppl[name]).mean())
    rows = [
        {
            "rank": rank,
            "segments": name,
            "schedule": name,
            **ratio(np.exp(log_ppl[name])).columns("gen_ppl"),
            **around("entropy_nats", 5.2),
            **around("predicted_path_kl_nats", float(log_ppl[name].mean() - 3)),
            **around("predicted_nelbo_nats", float(log_ppl[name].mean())),
            "samples": samples,
        }
        for rank, name in enumerate(order, 1)
    ]
    ends = {"light_in_top": order[:extremes], "light_in_bottom": order[-extremes:]}
    influence = [
        {
            "segment": k + 1,
            "t_from": 1 - k / segments,
            "t_to": 1 - (k + 1) / segments,
            "extremes": extremes,
            **around("influence_ppl", effects[k], 1),
            **{
                column: sum(name[k] == "L" for name in names) / extremes
                for column, names in ends.items()
            },
        }
        for k in range(segments)
    ]
    prediction = {
        "predicted_by": "predicted_path_kl_nats",
        **Estimate(0.9, 0.8, 0.95).columns("spearman"),
        **Estimate(0.8, 0.7, 0.85).columns("kendall"),
        **{name: rows[0][name] for name in ("rank", "schedule", "segments", "gen_ppl")},
        **around("regret_ppl", 0.0),
    }
    asked = {
        "heavy": "12b",
        "light": "4b",
        "segments": segments,
        "light_segments": light,
        "steps": 12,
        "samples": samples,
        "length": 128,
        "judge": "gpt2",
        "family": None,
        "seed": 0,
    }
    return document(
        "search",
        asked | params,
        rows,
        influence=influence,
        predictions=[prediction],
        log_ppl={name: values.tolist() for name, values in sorted(log_ppl.items())},
    )


def measured_curves(heights, n=4, seed=0, baseline=None, points=5, length=10, noise=0.05):
    """Measurements with KL(heavy || m) = heights[m](t) + noise and CE = 1 + t + KL."""
    draw, times = np.random.default_rng(seed), np.arange(1, points + 1) / points
    masked = draw.integers(1, length, size=(points, n, 1)).astype(float)
    kl = {
        m: masked * (height(times)[:, None, None] + noise * draw.random((points, n, 1)))
        for m, height in heights.items()
    }
    ce = {"heavy": masked * (1 + times[:, None, None])}
    ce |= {m: ce["heavy"] + sums for m, sums in kl.items()}
    lights = tuple(m for m in heights if m != baseline)
    return Measurements("heavy", lights, baseline, length, times, masked, ce, kl, ce["heavy"])
