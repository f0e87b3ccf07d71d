"""The command line: train, list, sample, evaluate, compare, ... Each command imports heavy packages when it runs."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

from gan_lab import __version__
from gan_lab.cli import completion, look, use
from gan_lab.cli.parsing import Parser

HELP = """\
gan-lab: any generator against any discriminator under any loss, on any data

  gan-lab train [-m] [key=value ...]     train one run, or with -m sweep over every list of values
  gan-lab list [KIND]                    what there is: generators, losses, datasets, experiments, ...
  gan-lab sample RUN [--num N --seed S --label L --out FILE]
                                         pictures of a trained run: a .png grid, an .npz, or a folder
  gan-lab sample RUN --grid interpolation|classes|neighbours|directions|truncation|style-mixing
                                         what the run has learnt, laid out to be judged
  gan-lab play RUN                       a web page, to play with seeds, sliders, or your own pictures
  gan-lab apply RUN INPUT... --out DIR   a trained translator on your own pictures, of any size
  gan-lab score RUN INPUT... [--csv FILE --maps DIR]
                                         how far from normal your own pictures are, by a trained detector
  gan-lab evaluate RUN [--samples N --metrics a,b --json FILE]
                                         scores with fresh noise, each with its provenance
  gan-lab evaluate FOLDER --dataset NAME
                                         the same for pictures that another generator made

  gan-lab show RUN                       a run in the terminal: curves, scores, health, its newest pictures
  gan-lab watch SWEEP                    a live table of a sweep's jobs
  gan-lab compare RUN_OR_FOLDER... [--at images=N --html FILE --json FILE]
                                         which settings are better, over their seeds, and how sure that is
  gan-lab export RUN --out FILE          a run as one file: .safetensors for Python, .onnx for other programs
  gan-lab push RUN OWNER/NAME            a run for others, with a card, to the Hugging Face Hub; or --out FOLDER
  gan-lab dashboard SWEEP_OR_RUN [--entity E --project P]
                                         a workspace and a report in W&B, made for these runs

  gan-lab COMMAND --help says more. Examples:
    gan-lab train                                                the default: DCGAN on 4,000 real digits
    gan-lab train experiment=ring loss=minimax                   an experiment with another loss
    gan-lab train -m experiment=ring loss=minimax,non_saturating trainer.seed=1,2,3
    gan-lab train --cfg job experiment=grid                      show the config and stop
"""


DEBUG = "GAN_LAB_DEBUG"  # a variable of the environment: with it, errors show where they were raised


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 done, 1 a run failed, 2 wrong usage, 130 and 143 interrupted and saved."""
    # GNU OpenMP's threads spin long at barriers, which slows a machine that other processes use, too. A shorter spin
    # has no measurable cost on an idle machine. torch reads the variable when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    # Where processes of a run end, torch's store prints backtraces of C++ as warnings.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"list": list_parts, "sample": use.sample, "apply": use.apply, "evaluate": use.evaluate}
    commands |= {"score": use.score, "export": use.export, "compare": look.compare, "show": look.show}
    commands |= {"watch": look.watch, "push": use.push, "dashboard": look.dashboard, "play": use.play}
    if not words or words[0] in ("-h", "--help", "help", "--version", "-V"):
        print(f"gan-lab {__version__}\n" if words and "v" in words[0].lower() else HELP, end="")
        return 0 if words else 2
    if words[0].startswith(completion.FLAGS):  # the shell calls the command without `train`
        answered = completion.asked(words, ("train", *commands))
        if answered is None:
            return 0
        words = answered
    if words[0] not in ("train", *commands):
        near = difflib.get_close_matches(words[0], ("train", *commands), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return _refuse(f"{words[0]}: there is no such command.{hint} Choose from: train, {', '.join(commands)}")
    try:
        if words[0] == "train":  # its arguments are in Hydra's grammar, so argparse does not parse them
            from gan_lab.commands.train import train

            return train(words[1:]).code
        return commands[words[0]](words[1:])
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _refuse(_in_a_line(error))


def _in_a_line(error: Exception) -> str:
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    text = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}{f': {text}' if text else ''}; {DEBUG}=1 shows where"


def _refuse(message: str) -> int:
    from gan_lab.config.redaction import redacted
    from gan_lab.core.files import printable

    print(f"gan-lab: {printable(str(redacted(message)))}", file=sys.stderr)
    return 2


def list_parts(argv: Sequence[str]) -> int:
    """Print the names of one kind, one a line, or of every kind under its heading."""
    from gan_lab.config import presets
    from gan_lab.registry import KINDS, unknown

    recipes = {"experiments": "experiment", "searches": "search"}
    groups = {kind: next(iter(registry.groups), kind) for kind, registry in KINDS.items()} | recipes
    parser = Parser(prog="gan-lab list", description="What there is to choose from: registered parts and presets.")
    parser.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(groups))
    kind = parser.parse_args(argv).kind
    if kind is None:
        for name, group in groups.items():
            print(name, *(f"  {option}" for option in presets.options(group)), sep="\n")
        return 0
    by_any_name = groups | {group: group for group in groups.values()}
    if kind not in by_any_name:
        raise unknown("list", kind, groups)
    print(*presets.options(by_any_name[kind]), sep="\n")
    return 0
