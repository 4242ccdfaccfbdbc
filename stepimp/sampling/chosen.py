"""From the options of `stepimp generate` to the policy and the prompts that they mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from stepimp.checks import Count
from stepimp.errors import StepimpError
from stepimp.models.loading import Family
from stepimp.models.options import ModelOptions
from stepimp.sampling import prompts
from stepimp.sampling.cascade import Cascade
from stepimp.sampling.drafting import Draft
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.orders import Order
from stepimp.sampling.policies import Policy
from stepimp.sampling.prompts import Prompt
from stepimp.schedules import over_masked, plan
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule, SavedSchedule, from_json
from stepimp.schedules.schedule import Schedule, parse
from stepimp.wording import counted

NO_STEPS = (
    "A plan says how many tokens unmask together, and takes neither a T nor a sampler: leave them "
    "out, or choose a schedule."
)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(ModelOptions):
    """What `generate_texts` generates. Raises StepimpError for values of another type or range than
    declared, and for options that exclude each other.
    """

    schedule: str | None = None
    """Notation of the schedule or plan, or a file that holds one; None: that of the family's newest
    recommendation for the models and T below, with its models.
    """
    heavy: str | None = None
    """Model H of the notation; None: the family's deepest member."""
    light: str | None = None
    """Model L of the notation; None: the family's shallowest member."""
    steps: Count | None = None
    """T that the schedule must have, or of ancestral sampling with what has none; None: any."""
    sampler: Literal["ancestral", "first-hitting"] | None = None
    """"ancestral" or "first-hitting"; None: first-hitting for what has no T."""
    cascade: str | float | None = None
    """Threshold of an entropy cascade in nats, in place of a schedule; "auto": that of the newest
    document of `stepimp cascade`.
    """
    draft: Count | None = None
    """Events that the light model drafts for the heavy one to verify, in place of a schedule."""
    order: str | None = None
    """Notation of the order in which the logits choose what unmasks, see `orders.Order`."""
    temperature: float = 1.0
    """Temperature of the distribution that tokens are drawn from."""
    top_p: float = 1.0
    """Probability of the nucleus that tokens are drawn from."""
    samples: Count = 4
    """Number of texts, of each prompt."""
    length: Count | None = None
    """Tokens per text, given ones included; None: the models' maximum, or that of a text whose gaps
    all have a size.
    """
    prefix: str = ""
    """Text that each sample starts with."""
    suffix: str = ""
    """Text that each sample ends with."""
    infill: str | None = None
    """A text with gaps, see `prompts.with_gaps`."""
    prompt: str | tuple[str, ...] | None = None
    """Texts to continue, or a file of prompts, see `prompts.read_prompts`; "-" for standard
    input."""
    batch_size: Count = 16
    """Sequences per forward pass."""
    precision: Literal["exact", "mdlm"] = "exact"
    """"exact", or "mdlm" for the MDLM repository's sampler."""

    @property
    def dynamic(self) -> bool:
        """Whether the light and the heavy model take turns without a schedule."""
        return self.cascade is not None or self.draft is not None

    def __post_init__(self):
        super().__post_init__()
        rules = {
            "a schedule": self.schedule is not None,
            "a cascade": self.cascade is not None,
            "drafting": self.draft is not None,
        }
        texts = {
            "a prefix or suffix": bool(self.prefix or self.suffix),
            "a text with gaps": self.infill is not None,
            "prompts": self.prompt is not None,
        }
        if self.prompt == ():
            raise StepimpError("There is no prompt: give at least one text to continue.")
        for choices in (rules, texts):
            given = [name for name, is_given in choices.items() if is_given]
            if len(given) > 1:
                raise StepimpError(f"Choose one of {' and '.join(given)}.")
        if self.sampler == "ancestral" and self.dynamic and self.steps is None:
            raise StepimpError("Ancestral sampling without a schedule over steps needs T.")
        notation = "" if (self.schedule or "").endswith(".json") else self.schedule or ""
        if "*" in notation and (self.steps or self.sampler):
            raise StepimpError(NO_STEPS)
        if self.sampler == "first-hitting" and self.steps and (self.dynamic or "@" in notation):
            raise StepimpError("First-hitting sampling takes no T: leave out the number of steps.")


def policy_of(options: GenerateOptions) -> Policy:
    """How the samples are drawn. Raises StepimpError for what cannot be read or combined."""
    kernel = Kernel(options.temperature, options.top_p)
    heavy, light, steps = options.heavy, options.light, options.steps
    schedule: AnySchedule | Cascade | Draft
    if options.dynamic:
        assert heavy is not None and light is not None
        if options.cascade is not None:
            schedule = Cascade(heavy, light, read_threshold(options.cascade))
        else:
            schedule = Draft(heavy, light, options.draft or 1)
    else:
        assert options.schedule is not None
        schedule, steps = read_schedule(options.schedule, heavy, light, steps)
    if options.sampler is None:
        first_hitting = steps is None and not isinstance(schedule, (Schedule, Plan))
    else:
        first_hitting = options.sampler == "first-hitting"
    needs_no_steps = isinstance(schedule, (Schedule, Plan)) or first_hitting
    order = None if options.order is None else Order.parse(options.order)
    return Policy(schedule, None if needs_no_steps else steps, first_hitting, kernel, order)


def read_threshold(text: str | float) -> float:
    """A threshold in nats. Raises StepimpError for anything that is not a number of at least 0."""
    try:
        threshold = float(text)
    except ValueError as error:
        raise StepimpError(f"The threshold {text!r} of the cascade is not a number.") from error
    if not threshold >= 0:
        raise StepimpError(f"The threshold {text} of the cascade must be at least 0 nats.")
    return threshold


def read_schedule(
    text: str, heavy: str | None, light: str | None, steps: int | None
) -> tuple[AnySchedule, int | None]:
    """A schedule or plan in its notation or in a JSON file, and T where a schedule over masked
    positions has one.

    heavy, light: the models of the letters. steps: the T that a schedule over steps must have, or
    that of a schedule over masked positions. Raises StepimpError where it cannot be read.
    """
    if text.endswith(".json"):
        saved = read_saved(text)
        if steps and isinstance(saved.schedule, Plan):
            raise StepimpError(NO_STEPS)
        if steps and isinstance(saved.schedule, Schedule) and saved.schedule.steps != steps:
            raise StepimpError(
                f"The schedule of {text} has {counted(saved.schedule.steps, 'step')}, not "
                f"T = {steps}."
            )
        return saved.schedule, steps or saved.steps
    if "@" in text:
        return over_masked.parse(text, heavy, light), steps
    if "*" in text:
        return plan.parse(text, heavy, light), None
    return parse(text, heavy, light, steps), None


def read_saved(path: str) -> SavedSchedule:
    """A schedule in a JSON file. Raises StepimpError where it cannot be read."""
    try:
        return from_json(Path(path).expanduser().read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise StepimpError(f"Cannot read the schedule of {path}: {error}") from error
    except StepimpError as error:
        raise StepimpError(f"{path}: {error}") from error


def written(policy: Policy, heavy: str | None, light: str | None) -> str:
    """A policy's schedule as the results document has it."""
    match policy.schedule:
        case Cascade(threshold=threshold):
            return f"cascade({threshold:g})"
        case Draft(events=events):
            return f"draft({events})"
        case Schedule() | MaskedSchedule() | Plan() as schedule:
            return schedule.format(heavy, light)
        case _:
            assert_never(policy.schedule)


def chosen_prompts(options: GenerateOptions, family: Family) -> list[Prompt]:
    """The prompts that samples are drawn for: one, or those of a file."""
    if isinstance(options.prompt, tuple):
        return [prompts.continued(text) for text in options.prompt]
    if options.prompt is not None:
        return prompts.read_prompts(options.prompt, prompts.mask_text(family))
    if options.infill is not None:
        return [prompts.with_gaps(options.infill, prompts.mask_text(family))]
    return [prompts.continued(options.prefix, options.suffix)]
