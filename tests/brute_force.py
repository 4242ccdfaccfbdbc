"""All schedules within limits, for searches that are to find the best of them."""

import itertools


def every_schedule(models, steps, segments, shortest=1):
    """One model per step, in at most `segments` segments, none shorter than `shortest`."""
    for choice in itertools.product(models, repeat=steps):
        runs = [len(list(run)) for _, run in itertools.groupby(choice)]
        if len(runs) <= segments and min(runs) >= shortest:
            yield choice
