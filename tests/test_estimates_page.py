"""The page of what the paper's protocol costs."""

from page_makers import DOCS, page_maker


def test_the_page_is_what_the_counts_say():
    written = (DOCS / "estimates.md").read_text("utf-8")
    assert written == page_maker("make_estimates").page(), (
        "write it again: python docs/make_estimates.py"
    )
