"""Starts a run with the weights of another run, for fine-tuning on other data or with other losses."""

from __future__ import annotations

from pathlib import Path

from gan_lab.core import checkpoint
from gan_lab.run.assembly import Assembly


def initialize_from(assembly: Assembly, source: str) -> None:
    """Copy another run's weights into the networks and their average, where names and shapes are equal.

    The other weights stay random. Adds a note to the assembly. Raises ValueError where there is no such run, or where
    a network gets no weight from it.
    """
    folder = Path(source)
    state = checkpoint.load_newest(folder / "checkpoints") if folder.is_dir() else None
    if state is None:
        raise ValueError(f"init_from={source}: there is no run with a checkpoint")
    parts = state["game"]["parts"]
    average = parts.get("hook/EMA", {})
    learned = {id(parameter) for parameters in assembly.game.parameters.values() for parameter in parameters}
    lines = []
    for name, net in assembly.game.nets.items():
        own = net.state_dict()
        prefix = f"{name}."
        theirs = {k.removeprefix(prefix): v for k, v in parts["task/nets"].items() if k.startswith(prefix)}
        fitting = {key: value for key, value in theirs.items() if key in own and own[key].shape == value.shape}
        if not any(value.dim() > 1 for value in fitting.values()):
            raise ValueError(
                f"init_from={source}: no weight of its {name} fits this one; choose the same {name} as in "
                f"{folder / 'config.yaml'}"
            )
        if stuck := [k for k, p in net.named_parameters() if id(p) not in learned and k not in fitting]:
            raise ValueError(
                f"init_from={source}: layers of the {name} are frozen, and these do not fit: {', '.join(stuck[:3])}; "
                "they would stay random. Freeze fewer, or give data of the shape that it was trained on"
            )
        net.load_state_dict(own | fitting)
        if assembly.ema and name in assembly.ema.average:
            averaged = {key: average.get(prefix + key, value) for key, value in fitting.items()}
            assembly.ema.average[name].load_state_dict(own | averaged)
        rest = [key for key in own if key not in fitting]
        line = f"{name} {len(fitting)} of {len(own)} tensors"
        lines.append(line + (f" (not {', '.join(rest[:3])}{', ...' if len(rest) > 3 else ''})" if rest else ""))
    assembly.notes.append(f"begins with the weights of {source}: {'; '.join(lines)}")
