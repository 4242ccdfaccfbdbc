"""A family out of checkpoints from anywhere: each is checked against the members before it."""

from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.models.checkpoints import load_checkpoint, open_checkpoint
from stepimp.models.family import NAME, read_manifest, resolve, write_manifest
from stepimp.models.together import SHARED, check_together, shared_facts
from stepimp.results import results_folder

FIRST_SEED = 1
COST_LENGTH = 512  # tokens of the sequence that a block's FLOPs are recorded for


def describe(source: str) -> dict:
    """What the manifest says of a checkpoint; its weights are read once, for their fingerprint.

    Raises StepimpError for a checkpoint that does not load.
    """
    checkpoint = open_checkpoint(source)
    layout = checkpoint.layout
    tokenizer = checkpoint.tokenizer()
    model = load_checkpoint(checkpoint, "cpu", "bfloat16", tokenizer=tokenizer)
    place = Path(source).expanduser()
    return {
        "blocks": model.blocks,
        "heldout_nelbo_nats": None,
        "checkpoint": str(place.resolve()) if place.exists() else source,
        "layout": layout.name,
        "parameters": checkpoint.parameters,
        "fingerprint": model.fingerprint,
        "block_flops": model.block_flops(COST_LENGTH),
        "max_length": model.max_length,
    } | shared_facts(model, tokenizer)


def add_member(folder: Path, name: str, source: str, seed_of: str | None = None) -> dict:
    """Adds a checkpoint to a family under a name, and returns what its manifest says of it.

    source: as for `open_checkpoint`; seed_of: the member that it is another seed of. The weights
    stay where they are. Raises StepimpError, before anything is written, for a name that is taken,
    a checkpoint that does not load, and one that does not belong to the members.
    """
    folder = results_folder(folder)
    manifest = read_manifest(folder)
    members = manifest["members"]
    if name in members:
        raise StepimpError(f"{folder} has a member {name!r} already: choose another name.")
    if not NAME.fullmatch(name):
        raise StepimpError(f"{name!r} is not a name: use letters, digits, '_', '-' and '.'.")
    if seed_of is not None and seed_of not in members:
        listed = ", ".join(members) or "none"
        raise StepimpError(f"{folder} has no member {seed_of!r}: its members are {listed}.")
    facts = describe(source)
    for other in members:
        other_facts = complete(members[other], other, folder)
        if facts["fingerprint"] == other_facts["fingerprint"]:
            raise StepimpError(f"{name} holds the same weights as {other}.")
        check_together(other, other_facts, name, facts)
    facts["seed"] = FIRST_SEED
    if seed_of is not None:
        check_seed(name, facts, seed_of, complete(members[seed_of], seed_of, folder))
        facts["seed_of"] = members[seed_of].get("seed_of", seed_of)  # the first of its seeds
        facts["seed"] = 1 + max(facts_of["seed"] for facts_of in members.values())
    if read_manifest(folder) != manifest:  # another process has added a member meanwhile
        return add_member(folder, name, source, seed_of)
    members[name] = facts
    write_manifest(folder, manifest)
    return facts


def complete(facts: dict, name: str, folder: Path) -> dict:
    """A member's facts; those of a trained member are read off its checkpoint."""
    return facts if SHARED.keys() <= facts.keys() else describe(resolve(name, folder)) | facts


def check_seed(name: str, facts: dict, first: str, others: dict):
    """Raises StepimpError where two members cannot be one model from two seeds."""
    for fact, name_of_fact in {"blocks": "depth", "parameters": "number of parameters"}.items():
        if facts[fact] != others[fact]:
            raise StepimpError(
                f"{name} is not {first} from another seed: they differ in their {name_of_fact} "
                f"({facts[fact]:,} and {others[fact]:,})."
            )
