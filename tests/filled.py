"""A set of results documents written by hand that fills every need of the paper."""

from by_hand import (
    comparison,
    curves,
    fractions,
    lm1b,
    profile,
    recommendation,
    search,
    sizes,
    write,
)


def filled(**options):
    """{need: a document that fills it}, as the paper has it. options: of the comparisons."""
    return {
        "loss": curves("loss"),
        "kl": curves("kl"),
        "recommend": recommendation(),
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
