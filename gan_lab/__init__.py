"""gan_lab: any generator against any discriminator under any loss.

    import gan_lab

    run = gan_lab.train(["experiment=ring", "loss=hinge"])
    run.show()

Importing it costs nothing: what is named here is imported when it is first used. See docs/python.md.
"""

TYPE_CHECKING = False  # type checkers take it for true; importing typing would take most of the time

if TYPE_CHECKING:
    from gan_lab.interface import Comparison, Run, Sweep, compare, load, sweep, train

__version__ = "0.1.0"
__all__ = ("Comparison", "Run", "Sweep", "__version__", "compare", "load", "sweep", "train")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module gan_lab has no attribute {name}; it has {', '.join(__all__)}")
    import gan_lab.interface

    return getattr(gan_lab.interface, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
