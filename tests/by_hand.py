"""Results documents written by hand, one builder for each command: what they find is chosen."""

import itertools
import json
import math

import numpy as np

from stepimp.intervals import Estimate, ratio
from stepimp.paper.rows import HAND_CRAFTED
from stepimp.schedules.schedule import hand_crafted, sandwich

BLOCKS = {"12b": 12, "4b": 4, "6b": 6, "8b": 8, "10b": 10, "12b_seed2": 12}
LIGHTS = ("4b", "6b", "8b", "10b")
# log-PPL above all-heavy, in the order of HAND_CRAFTED; as the paper has it
AS_PUBLISHED = dict(zip(HAND_CRAFTED, [0.22, 0.04, 0.11, 0.09, 0.06, 0.03, 0.0]))
COSTS = ("path_kl_nats", "nelbo_nats", "objective")
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


def document(command, params, rows, **parts):
    return {
        "schema": "stepimp/1",
        "command": command,
        "params": params,
        "blocks": BLOCKS,
        "rows": rows,
        "provenance": PROVENANCE | {"command_line": f"stepimp {command}"},
        "path": f"{command}-0.json",
        **parts,
    }


def write(folder, content, name="0"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{content['command']}-{name}.json"
    path.write_text(json.dumps(content))
    return path


def hill(t):
    """Largest in the middle."""
    return math.sin(math.pi * t)


def curve_rows(columns, shape=hill, models=("4b",), times=(0.25, 0.5, 0.75, 1.0), band=0.1):
    """A row for each model and time: every column is shape(t) times the place of its model."""
    return [
        {"t": t, "model": model, "sequences": 9}
        | {
            column + end: place * shape(t) + add
            for column in columns
            for end, add in (("", 0), ("_low", -band), ("_high", band))
        }
        for place, model in enumerate(models, 1)
        for t in times
    ]


def curves(command="kl", lights=("4b",), columns=None, rows=None, **params):
    """A document of `loss` or `kl`."""
    known = {"heavy": "12b", "lights": list(lights), "baseline": "12b_seed2", "data": "docs"}
    rows = rows or curve_rows(columns or CURVES[command], models=lights)
    return document(command, known | {"inputs": "text", "family": None} | params, rows)


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
    """A document of `compare`. effects: {name: log-PPL above all-heavy}; schedules: {name:
    (schedule, light)}, else the paper's seven; noise: spread of the paired differences; entropy:
    {name: nats above all-heavy}.
    """
    schedules = schedules or {
        name: (plan, None if name == "all-heavy" else "4b") for name, plan in plans(steps).items()
    }
    draw, rows, each, entropy = np.random.default_rng(0), [], {}, dict(entropy)
    base = 3.8 + 0.3 * draw.standard_normal(samples)
    heavy_noise = noise * draw.standard_normal(samples)
    for name, (schedule, light) in schedules.items():
        heavy = schedule.models == ("12b",)
        own_noise = heavy_noise if heavy else noise * draw.standard_normal(samples)
        log_ppl = base + effects.get(name, 0.0) + own_noise
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
                **ratio(nats).columns("entropy_nats"),
                **ratio(log_ppl - base - heavy_noise).columns("log_ppl_diff"),
                **ratio(nats - 5.2).columns("entropy_diff_nats"),
                **Estimate(9 - 3 * light_fraction, 8, 10).columns("seconds"),
                **Estimate(light_fraction / 3, 0, 0.5).columns("saved_seconds"),
            }
        )
    known = {
        "heavy": "12b",
        "lights": list(dict.fromkeys(light for _, light in schedules.values() if light)),
        "steps": steps,
        "samples": samples,
        "length": 128,
        "prefix_length": 0,
        "judge": "/home/me/judge",
        "family": None,
        "seed": 0,
    }
    return document("compare", known | params, rows, per_sample=each, pairs=[])


def sizes(**options):
    """A comparison of the paper's seven with each of four light models."""
    return comparison(schedules=all_sizes(), **options)


def lm1b(effects=AS_PUBLISHED, **options):
    """A comparison in the role of LM1B: as many steps as tokens."""
    return comparison(effects, **{"family": "code", "length": 8} | options)


def fractions(**options):
    """A comparison of sandwiches, ever lighter."""
    lights = {n: sandwich(8, n, "12b", "4b") for n in (0, 2, 4, 6, 8)}
    effects = {f"{n} light": 0.02 * n for n in lights}
    named = {f"{n} light": (plan, "4b" if n else None) for n, plan in lights.items()}
    return comparison(effects, named, **options)


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
            "predicted_path_kl_nats": float(log_ppl[name].mean() - 3),
            **ratio(np.exp(log_ppl[name])).columns("gen_ppl"),
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
            **Estimate(effects[k], effects[k] - 1, effects[k] + 1).columns("influence_ppl"),
            **{end: sum(name[k] == "L" for name in top) / extremes for end, top in ends.items()},
        }
        for k in range(segments)
    ]
    correlation = {
        "predicted_by": "predicted_path_kl_nats",
        **Estimate(0.9, 0.8, 0.95).columns("spearman"),
    }
    known = {
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
        known | params,
        rows,
        influence=influence,
        predictions=[correlation],
        log_ppl={name: values.tolist() for name, values in sorted(log_ppl.items())},
    )


def costed(schedule, light, name="best"):
    """A row of `recommend`: all its costs are the light fraction."""
    costs = {
        cost + end: light + add
        for cost in COSTS
        for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))
    }
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
    columns=CURVES["kl"],
    curve_models=None,
    **changes,
):
    """A document of `recommend` whose recommendation lies between two points of its trade-off.

    columns, curve_models: of its curves, by default the light models'.
    """
    read = {"heavy": heavy, "lights": list(lights), "baseline": "12b_seed2", "data": "docs"}
    read |= {"inputs": "text"}
    asked = {"by": "kl", "segments": 3, "steps": 10, "save_flops": False, "budget": 0.3}
    blocks = {light: 4 + 2 * k for k, light in enumerate(lights)}
    moves = [{"before": lights[0], "after": heavy, "t": 0.7, "t_low": 0.6, "t_high": 0.8}]
    rows = [costed(chosen, 0.3, "recommended"), costed("L2,H6,L2", 0.4, "sandwich")]
    rows += [costed(tradeoff[0], 0.0, "all-heavy"), costed(tradeoff[-1], 1.0, "all-light")]
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


def profile():
    """A document of `profile`."""
    parts = [
        {"kind": "part", "model": model, "sampler": way, "part": part, "share": share}
        | {"speedup_bound": 5.0}
        for model in ("12b", "4b")
        for way in ("stepimp", "published")
        for part, share in (("body", 0.8), ("projection", 0.1), ("draw", 0.06), ("rest", 0.04))
    ]
    savings = [
        {"kind": "saving", "schedule": text, "light_fraction": x, "saved_flops": x * 2 / 3}
        | {"saved_flops_exact": x * 0.7}
        | Estimate(x * 0.6, x * 0.6 - 0.02, x * 0.6 + 0.02).columns("saved_seconds")
        for text, x in (("H10", 0.0), ("L3,H5,L2", 0.5), ("L10", 1.0), ("L1,H9", 0.1))
    ]
    params = {"heavy": "12b", "light": "4b", "schedule": "L1,H9", "steps": 10, "length": 8}
    params |= {"samples": 2, "batch_size": 2, "dtype": "float32", "repeats": 3, "family": None}
    return document("profile", params, parts + savings)
