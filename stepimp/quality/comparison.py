"""Schedules side by side: the same samples drawn with each, their text scored by a judge, their
cost counted and timed.

All schedules share their random numbers, and prefixes: sample i of one is paired with sample i of
another. What was drawn with a schedule stays in a file of its own, named by all it depends on;
whoever asks for the same samples again, after a kill, with another judge or among other schedules,
finds them there."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from stepimp import __version__, randomness
from stepimp.errors import StepimpError
from stepimp.intervals import Estimate, ratio
from stepimp.models.loading import Family
from stepimp.quality.evaluation import Scores, quality, score, unigram_entropy, unscorable
from stepimp.quality.judge import Judge
from stepimp.quality.samples_file import split_prefix
from stepimp.results import Journal, newest, results_folder, run_key
from stepimp.sampling import sampler
from stepimp.sampling.cost import Stopwatch, exact_flops
from stepimp.schedules import schedule as schedules
from stepimp.schedules.schedule import Schedule, parse, sandwich, saved_flops
from stepimp.text.blocks import load_blocks

LIGHT_SHARE = 0.25  # of the paper's hand-crafted schedules


@dataclass(frozen=True)
class Plan:
    """A schedule to compare: what it is called, and the light model it is about, None for
    all-heavy.
    """

    name: str
    light: str | None
    schedule: Schedule


@dataclass(frozen=True)
class Setting:
    """What all schedules share. out: the folder that samples are kept in.

    prefixes: [samples, P] tokens or None; text: fingerprint of the text that they are the
    beginnings of."""

    family: Family
    heavy: str
    samples: int
    length: int
    seed: int
    out: str
    prefixes: torch.Tensor | None = None
    text: str | None = None
    batch_size: int = 8
    dtype: str = "float32"

    @property
    def turns(self) -> list[range]:
        """Batches of sample indices."""
        starts = range(0, self.samples, self.batch_size)
        return [range(start, min(start + self.batch_size, self.samples)) for start in starts]

    def given(self, indices) -> torch.Tensor | None:
        """The prefixes of these samples."""
        return None if self.prefixes is None else self.prefixes[list(indices)]


@dataclass(frozen=True)
class Measured:
    """One schedule's samples. seconds, sizes, stamps: by turn; a stamp names the run that drew and
    timed a turn.
    """

    scores: Scores
    entropy: np.ndarray
    seconds: np.ndarray
    sizes: np.ndarray
    stamps: list[str]
    flops: float
    empty: int
    file: str


def hand_crafted(steps: int, heavy: str, light: str) -> list[Plan]:
    """The paper's seven: a quarter of the steps light in a sandwich or in one quarter, all light
    and all heavy.
    """
    named = schedules.hand_crafted(steps, round(LIGHT_SHARE * steps), heavy, light)
    return [
        Plan(name, None if name == "all-heavy" else light, schedule)
        for name, schedule in named.items()
    ]


def swept(steps: int, fractions, heavy: str, light: str) -> list[Plan]:
    """Sandwiches with these fractions of light steps, as in the paper's Table 2."""
    names = {0: "all-heavy", steps: "all-light"}
    return [
        Plan(names.get(n, "sandwich"), light if n else None, sandwich(steps, n, heavy, light))
        for n in dict.fromkeys(round(fraction * steps) for fraction in fractions)
    ]


def recommended(
    out, steps: int, heavy: str, light: str, fingerprints: dict[str, str]
) -> Plan | None:
    """The newest recommendation for these very models, T and a quarter of light steps, if there is
    one.
    """

    def matches(document):
        params, known = document["params"], document["provenance"]["fingerprints"]["models"]
        asked = (
            params["heavy"],
            params["lights"],
            params["steps"],
            params["budget"],
            params["save_flops"],
        )
        same = all(known.get(name) == fingerprints[name] for name in (heavy, light))
        return same and asked == (heavy, [light], steps, LIGHT_SHARE, False)

    document = newest(out, "recommend", matches)
    return document and Plan(
        "recommended", light, parse(document["rows"][0]["schedule"], heavy, light)
    )


def text_prefixes(data: str, family: Family, samples: int, length: int, given: int, seed: int):
    """The first `given` tokens of as many held-out sequences: ([samples, given], a fingerprint of
    the text).
    """
    blocks = load_blocks(data, family.tokenizer, length, "heldout")
    if len(blocks.tokens) < samples:
        raise StepimpError(
            f"{data} has {len(blocks.tokens)} held-out sequences of {length} tokens, and {samples} prefixes "
            "are needed: lower --samples or give more text."
        )
    order = randomness.generator(seed, randomness.DATA).permutation(len(blocks.tokens))[:samples]
    return blocks.tokens[torch.as_tensor(order), :given], blocks.fingerprint


def kept_samples(setting: Setting, schedule: Schedule) -> Journal:
    """The file of what was drawn with a schedule: its name is a digest of all that the samples and
    times depend on.
    """
    prints, given = (
        setting.family.fingerprints,
        0 if setting.prefixes is None else setting.prefixes.shape[1],
    )
    key = run_key(
        "samples",
        dict(
            schedule=[[prints[name], count] for name, count in schedule.segments],
            length=setting.length,
            seed=setting.seed,
            prefix_length=given,
            text=setting.text,
            batch_size=setting.batch_size,
            dtype=setting.dtype,
            device=str(setting.family.any.device),
            version=__version__,
        ),
        {},
    )
    return Journal(results_folder(setting.out) / f"samples-{key}.jsonl", key)


def unit(turn: range) -> str:
    return f"{turn.start}:{turn.stop}"


def draw(
    setting: Setting, schedules: list[Schedule], stamp: str, progress=lambda done, total: None
) -> dict:
    """Draws what is not there yet, schedule -> its file. Every schedule has its turn before any has
    its next, so that a slow spell of the machine hits all alike. stamp: names this run."""
    files = {schedule: kept_samples(setting, schedule) for schedule in schedules}
    left = [
        (turn, one)
        for turn in setting.turns
        for one in schedules
        if unit(turn) not in files[one].done
    ]
    for name in dict.fromkeys(
        name for _, one in left for name in one.models
    ):  # first calls build caches
        sampler.sample(
            setting.family.denoisers, Schedule.of([name]), [0], setting.length, seed=setting.seed
        )
    for done, (turn, schedule) in enumerate(left):
        files[schedule].add(unit(turn), draw_turn(setting, schedule, turn) | {"run": stamp})
        progress(done + 1, len(left))
    return files


def draw_turn(setting: Setting, schedule: Schedule, turn: range) -> dict:
    """Samples with the indices of a turn, their text, and what they cost."""
    family, given, counts = setting.family, setting.given(turn), sampler.Counts()
    clock = Stopwatch(family.any.device)
    start = clock.now()
    tokens = sampler.sample(
        family.denoisers,
        schedule,
        turn,
        setting.length,
        seed=setting.seed,
        prefix=given,
        batch_size=setting.batch_size,
        counts=counts,
    )
    seconds, tokens = clock.now() - start, tokens.tolist()
    flops = exact_flops(family.denoisers, counts, setting.length)
    return {
        "seconds": seconds,
        "flops": flops,
        "tokens": tokens,
        "text": family.decode(tokens),
    }


def measure(setting: Setting, schedule: Schedule, file: Journal, judge: Judge) -> Measured:
    """Scores a schedule's samples and sums up their cost."""
    turns = [file.done[unit(turn)] for turn in setting.turns]
    texts = [text for turn in turns for text in turn["text"]]
    given = [""] * len(texts)
    if setting.prefixes is not None:
        decoded = setting.family.tokenizer.batch_decode(setting.prefixes)
        given, texts = zip(*(split_prefix(whole, prefix) for whole, prefix in zip(texts, decoded)))
    scores = score(judge, list(texts), list(given))
    return Measured(
        scores=scores,
        entropy=unigram_entropy([one for turn in turns for one in turn["tokens"]]),
        seconds=np.array([turn["seconds"] for turn in turns]),
        sizes=np.array([len(turn) for turn in setting.turns]),
        stamps=[turn["run"] for turn in turns],
        flops=sum(turn["flops"] for turn in turns),
        empty=unscorable(scores, judge),
        file=file.path.name,
    )


def compare(
    setting: Setting, plans: list[Plan], judge: Judge, stamp: str, progress=lambda done, total: None
):
    """Rows of `stepimp compare`, all-heavy among them, and log_ppl and entropy_nats of every sample
    by schedule.

    Each statistic has its 95% interval over samples, `seconds` over turns. log_ppl_diff and
    entropy_diff_nats are the means of the paired differences to all-heavy; saved_seconds is 1 -
    seconds / those of all-heavy over the turns that both had in one run, NaN where there are none.
    """
    all_heavy = Schedule.of([setting.heavy] * plans[0].schedule.steps)
    plans = list(dict.fromkeys(plans))
    if all_heavy not in (plan.schedule for plan in plans):
        plans.append(Plan("all-heavy", None, all_heavy))
    schedules = list(dict.fromkeys(plan.schedule for plan in plans))
    for schedule in schedules:
        sampler.check(setting.family.denoisers, schedule, setting.length, setting.prefixes)
    files = draw(setting, schedules, stamp, progress)
    found = {schedule: measure(setting, schedule, files[schedule], judge) for schedule in schedules}
    rows = [
        describe(plan, setting) | statistics(found[plan.schedule], found[all_heavy])
        for plan in plans
    ]
    each = {
        schedule.format(): {
            "log_ppl": one.scores.log_ppl.tolist(),
            "entropy_nats": one.entropy.tolist(),
        }
        for schedule, one in found.items()
    }
    return rows, each


def placements(rows: list[dict], each: dict, heavy: str) -> list[dict]:
    """Which place for the light steps is better: all pairs of schedules with as many steps of one
    light model.

    rows, each: of `compare`. Returns schedules `better` and `worse`, their names, and the mean of
    the paired differences in log-PPL, the largest first; all intervals hold together at 95%
    (Bonferroni)."""
    groups = {}
    for row in rows:
        schedule = parse(row["schedule"], heavy, row["light"])
        if len(schedule.models) > 1:
            light_steps = (row["light"], round(row["light_fraction"] * schedule.steps))
            groups.setdefault(light_steps, {})[schedule.format()] = row
    pairs = [
        (light, group, pair)
        for (light, _), group in groups.items()
        for pair in combinations(group, 2)
    ]
    found = []
    for light, group, pair in pairs:
        log_ppl = {key: np.array(each[key]["log_ppl"]) for key in pair}
        better, worse = sorted(pair, key=lambda key: log_ppl[key].mean())
        ends = ratio(log_ppl[worse] - log_ppl[better], jointly=len(pairs))
        names = {
            f"{what}{part}": group[key][column]
            for what, key in (("better", better), ("worse", worse))
            for part, column in (("", "schedule"), ("_name", "name"))
        }
        found.append({"light": light, **names, **ends.columns("log_ppl_diff")})
    return sorted(found, key=lambda row: -row["log_ppl_diff"])


def describe(plan: Plan, setting: Setting) -> dict:
    """Columns that need no sample. The notation is H and L where it can be, else by name."""
    schedule, blocks = plan.schedule, setting.family.blocks
    return {
        "name": plan.name,
        "schedule": schedule.format(setting.heavy, plan.light),
        "light": plan.light,
        "light_fraction": 1 - schedule.fraction(setting.heavy),
        "saved_flops": saved_flops(schedule, blocks, setting.heavy),
    }


def statistics(own: Measured, heavy: Measured) -> dict:
    """Columns of a schedule's samples, and of their pairs with those of all-heavy."""
    together = np.array([a == b for a, b in zip(own.stamps, heavy.stamps)])
    saved = Estimate(np.nan)
    if together.any():
        share = ratio(own.seconds[together], heavy.seconds[together])
        saved = Estimate(1 - share.value, 1 - share.high, 1 - share.low)
    seconds = ratio(own.seconds, own.sizes, log_scale=True).scaled(own.sizes.sum())
    return {
        "saved_flops_exact": 1 - own.flops / heavy.flops,
        **quality(own.scores, own.entropy),
        **ratio(own.scores.log_ppl - heavy.scores.log_ppl).columns("log_ppl_diff"),
        **ratio(own.entropy - heavy.entropy).columns("entropy_diff_nats"),
        **seconds.columns("seconds"),
        **saved.columns("saved_seconds"),
        "empty": own.empty,
        "samples_file": own.file,
    }
