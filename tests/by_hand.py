"""Results documents of comparisons and searches, written by hand: what they find is chosen."""

import itertools
import json

import numpy as np

from stepimp.intervals import Estimate, ratio
from stepimp.paper.needs import HAND_CRAFTED
from stepimp.schedules.schedule import Schedule, parse, quarters, sandwich

BLOCKS = {"12b": 12, "4b": 4, "8b": 8, "12b_seed2": 12}
# log-PPL above all-heavy, in the order of HAND_CRAFTED; as the paper has it
AS_PUBLISHED = dict(zip(HAND_CRAFTED, [0.22, 0.04, 0.11, 0.09, 0.06, 0.03, 0.0]))


def document(command, params, rows, **parts):
    provenance = {"version": "9.8", "device": "cpu", "command_line": f"stepimp {command}"}
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
    folder.mkdir(exist_ok=True)
    path = folder / f"{content['command']}-{name}.json"
    path.write_text(json.dumps(content))
    return path


def plans(steps, light="4b"):
    """{name: schedule} of the paper's seven."""
    all_heavy = Schedule.of(["12b"] * steps)
    a_quarter_light = [*quarters(steps, "12b", light), sandwich(steps, steps // 4, "12b", light)]
    return dict(zip(HAND_CRAFTED, [Schedule.of([light] * steps), *a_quarter_light, all_heavy]))


def comparison(
    effects=AS_PUBLISHED, schedules=None, noise=0.001, entropy=(), samples=20, steps=8, **params
):
    """A document of `compare`. effects: {name: log-PPL above all-heavy}; schedules: {name:
    (schedule, light)}, else the paper's seven; noise: spread of the paired differences; entropy:
    {name: nats above all-heavy}."""
    schedules = schedules or {
        name: (one, None if name == "all-heavy" else "4b") for name, one in plans(steps).items()
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
                **ratio(np.exp(log_ppl)).columns("gen_ppl"),
                **ratio(nats).columns("entropy_nats"),
                **ratio(log_ppl - base - heavy_noise).columns("log_ppl_diff"),
                **ratio(nats - 5.2).columns("entropy_diff_nats"),
                **Estimate(9 - 3 * light_fraction, 8, 10).columns("seconds"),
                **Estimate(light_fraction / 3, 0, 0.5).columns("saved_seconds"),
            }
        )
    lights = list(dict.fromkeys(light for _, light in schedules.values() if light))
    known = {
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
    return document("compare", known | params, rows, per_sample=each)


def fractions(**options):
    """A comparison of sandwiches, ever lighter."""
    lights = {n: sandwich(8, n, "12b", "4b") for n in (0, 2, 4, 6, 8)}
    effects = {f"{n} light": 0.02 * n for n in lights}
    return comparison(
        effects, {f"{n} light": (one, "4b" if n else None) for n, one in lights.items()}, **options
    )


def sizes(**options):
    """A comparison of the same sandwich with two light models."""
    own = {light: (parse("L1,H6,L1", "12b", light), light) for light in ("8b", "4b")}
    return comparison(
        {"8b": 0.01, "4b": 0.03}, own | {"all-heavy": (parse("H8", "12b"), None)}, **options
    )


def search(effects, segments=6, light=2, samples=30, noise=0.01, extremes=5, **params):
    """A document of `search`. effects: log-PPL that a light segment adds, by segment."""
    draw, found = np.random.default_rng(0), {}
    for chosen in itertools.combinations(range(segments), light):
        name = "".join("L" if k in chosen else "H" for k in range(segments))
        found[name] = sum(effects[k] for k in chosen) + 3 + noise * draw.standard_normal(samples)
    order = sorted(found, key=lambda name: np.exp(found[name]).mean())
    rows = [
        {
            "rank": rank,
            "segments": name,
            "schedule": name,
            "predicted_path_kl_nats": float(found[name].mean() - 3),
            **ratio(np.exp(found[name])).columns("gen_ppl"),
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
            **{name: sum(one[k] == "L" for one in own) / extremes for name, own in ends.items()},
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
    log_ppl = {name: own.tolist() for name, own in sorted(found.items())}
    return document(
        "search",
        known | params,
        rows,
        influence=influence,
        predictions=[correlation],
        log_ppl=log_ppl,
    )
