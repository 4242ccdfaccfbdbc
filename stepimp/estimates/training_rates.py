"""Rates of training on this machine: from the cache, else measured and kept there."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from stepimp.estimates import timing
from stepimp.estimates.training import Calibration, TrainingCosts, TrainingRates
from stepimp.training.recipe import Recipe


def calibration(key: tuple, measured: Callable[[], Calibration]) -> Calibration:
    """What the cache holds under a key; where it holds nothing, what is measured now."""
    file = timing.rates_path(*key)
    if not file.exists():
        timing.keep(file, measured())
    content = json.loads(file.read_text("utf-8"))
    models = {
        name: TrainingRates(**rates | {"costs": TrainingCosts(**rates["costs"])})
        for name, rates in content["models"].items()
    }
    return Calibration(**content | {"models": models})


def steps_key(recipe: Recipe) -> tuple:
    """What of a recipe a step, a checkpoint and a model depend on."""
    return recipe.batch_size, recipe.bf16, recipe.compile, recipe.weights


def family_calibration(
    folder: Path,
    depths: Iterable[int],
    shape: dict,
    recipe: Recipe,
    data: str,
    tokenizer_name: str | None = None,
    vocab_size: int | None = None,
    teacher: str | None = None,
    column: str = "text",
) -> Calibration:
    """Rates of `train_family`, for models named by their depth: 4b, 12b.

    The arguments are those of `train_family`; nothing is written to the folder. Raises StepimpError
    for what it refuses.
    """
    depths = sorted(set(depths))
    text = (data, timing.stamp(data), column, timing.stamp(str(folder / "tokenizer.json")))
    words = (vocab_size, timing.stamp(tokenizer_name or ""), timing.stamp(teacher or ""))

    def measured() -> Calibration:
        watch = timing.Stopwatch()
        from stepimp.estimates.training_timing import time_family

        return time_family(
            watch, folder, depths, shape, recipe, data, tokenizer_name, vocab_size, teacher, column
        )

    return calibration(("train", depths, shape, *steps_key(recipe), *text, *words), measured)


def judge_calibration(
    folder: Path, shape: dict, recipe: Recipe, data: str, vocab_size: int, column: str
) -> Calibration:
    """Rates of `train_judge`, for one model named "judge".

    folder: of the judge; the other arguments are those of `train_judge`. Nothing is written to the
    folder.
    """

    def measured() -> Calibration:
        watch = timing.Stopwatch()
        from stepimp.estimates.training_timing import time_judge

        return time_judge(watch, folder, shape, recipe, data, vocab_size, column)

    text = (data, timing.stamp(data), column, vocab_size)
    return calibration(("judge", shape, *steps_key(recipe), *text), measured)
