"""Step importance and model schedules for masked diffusion language models.

The front door is `stepimp.load`, `stepimp.curves`, `stepimp.recommend` and `stepimp.sample`, see
`stepimp.api`; they are imported when they are first used, so that `import stepimp` loads no torch.
What they raise is `stepimp.StepimpError`.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from stepimp.errors import StepimpError

if TYPE_CHECKING:
    from stepimp.api import curves, load, recommend, sample
else:
    from stepimp import curves

__version__ = "0.2.0"
__all__ = ["StepimpError", "curves", "load", "recommend", "sample"]


class _CallablePackage(ModuleType):
    """`stepimp.curves`: the package, which can be called as the function `stepimp.api.curves` and
    has its help and signature.
    """

    def __call__(self, *arguments, **options):
        from stepimp import api

        return api.curves(*arguments, **options)

    @property
    def __signature__(self):
        from inspect import signature

        from stepimp import api

        return signature(api.curves)

    @property
    def __doc__(self):  # type: ignore[override]
        from inspect import getdoc

        from stepimp import api

        return (
            f"{getdoc(api.curves)}\n\nIts parameters: {self.__signature__}\n\n"
            "The package of the same name holds the parts of the measurement."
        )


# `stepimp.curves` is both the package with the parts of a measurement and the function that
# measures; the import system sets the attribute to the package, whatever else it is set to.
if not TYPE_CHECKING:
    curves.__class__ = _CallablePackage


def __getattr__(name: str):
    if name in __all__:
        from stepimp import api

        return getattr(api, name)
    raise AttributeError(f"module 'stepimp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *filter(lambda name: name.startswith("__"), globals())})
