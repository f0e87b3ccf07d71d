"""What `import gan_lab` offers: runs, sweeps and comparisons as objects, by the functions of the command line.

Errors are those of the command line, with the same message: ValueError, or FileNotFoundError where a run is not there.
Where a message names an option, such as `--label`, the argument of that name is meant.
"""

from gan_lab.interface.comparison import Comparison, compare
from gan_lab.interface.runs import Run, load
from gan_lab.interface.sweeps import Sweep
from gan_lab.interface.training import sweep, train

__all__ = ("Comparison", "Run", "Sweep", "compare", "load", "sweep", "train")
