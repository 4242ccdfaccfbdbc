"""Step importance and model schedules for masked diffusion language models.

The front door is `stepimp.load`, `stepimp.curves`, `stepimp.recommend` and `stepimp.sample`, see
`stepimp.api`; they are imported when they are first used, so that `import stepimp` loads no torch.
"""

from types import ModuleType

from stepimp import curves

__version__ = "0.2.0"
__all__ = ["curves", "load", "recommend", "sample"]


class _CallablePackage(ModuleType):
    def __call__(self, *arguments, **options):
        """`stepimp.api.curves`."""
        from stepimp import api

        return api.curves(*arguments, **options)


# `stepimp.curves` is both the package with the parts of a measurement and the function that
# measures; the import system sets the attribute to the package, whatever else it is set to.
curves.__class__ = _CallablePackage


def __getattr__(name: str):
    if name in __all__:
        from stepimp import api

        return getattr(api, name)
    raise AttributeError(f"module 'stepimp' has no attribute {name!r}")
