"""A short torture of every kind of file, in this process. `make torture` is the long form."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis, which draws the damages, is not installed")

from inputs import outcomes  # noqa: E402
from targets import TARGETS, Bench  # noqa: E402
from world import World  # noqa: E402


@pytest.fixture(scope="module")
def bench(tiny_family, tiny_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("torture")
    return Bench(World(folder, tiny_family, tiny_text), folder / "bench")


SHORT = [name for name in TARGETS if "figures" not in name]  # which take a second each


@pytest.mark.parametrize("target", SHORT)
def test_damaged(bench, target):
    for outcome in outcomes(bench, target, count=2, number=0):
        assert outcome.problem == "", f"{outcome.damage}: {outcome.problem}"
