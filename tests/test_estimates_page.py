"""The page of what the paper's protocol costs."""

import importlib.util
from pathlib import Path


def test_the_page_is_what_the_counts_say():
    docs = Path(__file__).parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("make_estimates", docs / "make_estimates.py")
    make_estimates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_estimates)
    written = (docs / "estimates.md").read_text("utf-8")
    assert written == make_estimates.page(), "write it again: python docs/make_estimates.py"
