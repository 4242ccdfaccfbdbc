"""Needs that a family cannot fill, whatever is run, because it has no model of some depth."""

from fractions import Fraction

from stepimp.models.family import family_folder, read_manifest
from stepimp.paper.recipes import family_of, named_family
from stepimp.paper.rows import PAPER_BLOCKS
from stepimp.wording import counted

PAPER_DEPTHS = {"light_6": 6, "light_8": 8, "light_10": 10}  # of 12 blocks


def lacks(need: str, family: str | None, documents: dict | None) -> str:
    """Which models the family, as for `made_by`, would need to fill a need; empty where it has
    them or is not there.
    """
    folder = family_folder(family_of(need, named_family(family, documents)))
    members = read_manifest(folder)["members"]
    blocks = {facts["blocks"] for facts in members.values()}
    if need in PAPER_DEPTHS:
        share = Fraction(PAPER_DEPTHS[need], PAPER_BLOCKS)
        wanted = share * max(blocks, default=0)
        if not blocks or wanted in blocks:
            return ""
        if wanted.denominator > 1:
            return f"a model with {share} of the heavy model's blocks"
        return f"a model of {counted(int(wanted), 'block')}"
    if need == "light_sizes" and len(blocks) in (1, 2):
        return "a second light model"
    return ""
