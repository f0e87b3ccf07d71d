"""The command line: train, list, sample, evaluate, compare, ... Each command imports heavy packages when it runs."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gan_lab import __version__

HELP = """\
gan-lab: any generator against any discriminator under any loss, on any data

  gan-lab train [-m] [key=value ...]     train one run, or with -m sweep over every list of values
  gan-lab list [KIND]                    what there is: generators, losses, datasets, experiments, ...
  gan-lab sample RUN [--num N --seed S --label L --out FILE]
                                         pictures of a trained run: a .png grid, an .npz, or a folder
  gan-lab sample RUN --grid interpolation|classes|neighbours|directions|truncation
                                         what the run has learnt, laid out to be judged
  gan-lab apply RUN INPUT... --out DIR   a trained translator on your own pictures, of any size
  gan-lab score RUN INPUT... [--csv FILE --maps DIR]
                                         how far from normal your own pictures are, by a trained detector
  gan-lab evaluate RUN [--samples N --metrics a,b --json FILE]
                                         scores with fresh noise, each with its provenance
  gan-lab evaluate FOLDER --dataset NAME
                                         the same for pictures that another generator made

  gan-lab compare RUN_OR_FOLDER... [--at images=N --html FILE --json FILE]
                                         which settings are better, over their seeds, and how sure that is
  gan-lab dashboard SWEEP_OR_RUN [--entity E --project P]
                                         a workspace and a report in W&B, made for these runs

  gan-lab COMMAND --help says more. Examples:
    gan-lab train                                                the default: DCGAN on 4,000 real digits
    gan-lab train experiment=ring loss=minimax                   an experiment with another loss
    gan-lab train -m experiment=ring loss=minimax,non_saturating trainer.seed=1,2,3
    gan-lab train --cfg job experiment=grid                      show the config and stop
"""


DEBUG = "GAN_LAB_DEBUG"  # a variable of the environment: with it, errors show where they were raised
CHECKPOINT = "newest; best by the scores seen while training; or a number of images (newest)"
DEVICE = "auto, cuda, mps or cpu (auto)"


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line, as all other errors are reported."""

    def add_loading(self) -> None:
        """The options of commands that load a run."""
        self.add_argument("--checkpoint", default="newest", metavar="WHICH", help=CHECKPOINT)
        self.add_argument("--device", default="auto", help=DEVICE)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog.removeprefix('gan-lab ')}: {message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 done, 1 a run failed, 2 wrong usage, 130 and 143 interrupted and saved."""
    # GNU OpenMP's threads spin long at barriers, which slows a machine that other processes use, too. A shorter spin
    # has no measurable cost on an idle machine. torch reads the variable when it is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"list": list_parts, "sample": sample, "apply": apply, "evaluate": evaluate, "compare": compare}
    commands |= {"dashboard": dashboard, "score": score}
    if not words or words[0] in ("-h", "--help", "help", "--version", "-V"):
        print(f"gan-lab {__version__}\n" if words and "v" in words[0].lower() else HELP, end="")
        return 0 if words else 2
    if words[0].startswith(("--shell-completion", "-sc")):  # the shell calls the command without `train`
        words.insert(0, "train")
    if words[0] not in ("train", *commands):
        near = difflib.get_close_matches(words[0], ("train", *commands), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return _refuse(f"{words[0]}: there is no such command.{hint} Choose from: train, {', '.join(commands)}")
    try:
        if words[0] == "train":  # its arguments are in Hydra's grammar, so argparse does not parse them
            from gan_lab.commands.train import train

            return train(words[1:])
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
    parser = _Parser(prog="gan-lab list", description="What there is to choose from: registered parts and presets.")
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


def sample(argv: Sequence[str]) -> int:
    """Write samples of a trained run: a .png grid, an .npz, or a folder of PNGs."""
    parser = _Parser(prog="gan-lab sample", description="Pictures from a trained run.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--num", type=int, help="how many (64); with --grid rows, or pictures a class (8)")
    parser.add_argument("--seed", type=int, default=0, help="a seed gives the same pictures anywhere (0)")
    parser.add_argument("--label", help="of these classes only, by number or name: 3, or 3,5 (all of them)")
    parser.add_argument(
        "--grid", metavar="LAYOUT",
        help="interpolation: rows from one latent to another; classes: a row for each class; "
        "neighbours: samples beside the training pictures nearest to them; directions: rows along the latents' "
        "principal directions; truncation: samples of all latents, then of those near zero",
    )  # fmt: skip
    parser.add_argument(
        "--truncation", type=float, metavar="PSI",
        help="of generators with styles: below 1 more typical and less varied, 0 the mean picture (1)",
    )  # fmt: skip
    parser.add_loading()
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        help=".png: one grid; .npz: uint8 NHWC under the key images; .txt: lines; else a folder with a PNG each "
        "(samples.png; lines of text are printed)",
    )  # fmt: skip
    given = parser.parse_args(argv)
    from gan_lab.commands.sample import write_samples

    said = write_samples(
        given.run, given.out, given.num, given.seed, given.device, label=given.label, grid=given.grid,
        which=given.checkpoint, truncation=given.truncation,
    )  # fmt: skip
    print(said)
    return 0


def apply(argv: Sequence[str]) -> int:
    """Put files of the user's own through a trained network."""
    parser = _Parser(
        prog="gan-lab apply",
        description="A trained translator on pictures of your own, of any size: each is written to DIR under its own "
        "name. Files that cannot be read are named, and the others are done.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, of a task that translates")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a folder, which is made")
    parser.add_argument("--direction", metavar="NAME", help="of a run that translates both ways: a_to_b (it) or b_to_a")
    parser.add_argument(
        "--tile", type=int, metavar="N",
        help="cut pictures into overlapping tiles of N x N pixels; 0: never (only those of more than 2 million pixels "
        "of output)",
    )  # fmt: skip
    parser.add_loading()
    given = parser.parse_args(argv)
    from gan_lab.commands.apply import apply_to_files

    return apply_to_files(
        given.run, given.inputs, given.out, tile=given.tile, which=given.checkpoint, device=given.device,
        direction=given.direction,
    )  # fmt: skip


def score(argv: Sequence[str]) -> int:
    """Score pictures of the user's own by a trained detector."""
    parser = _Parser(
        prog="gan-lab score",
        description="How far from normal pictures of your own are, by a run of a task that detects. Files that cannot "
        "be read are named, and the others are done.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, such as of task=fanogan")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="all scores: file, score, above_normal")
    parser.add_argument("--maps", metavar="DIR", type=Path, help="a folder, for pictures of what is not normal")
    parser.add_loading()
    given = parser.parse_args(argv)
    from gan_lab.commands.score import score_files

    return score_files(
        given.run, given.inputs, table=given.csv, maps=given.maps, which=given.checkpoint, device=given.device
    )


def evaluate(argv: Sequence[str]) -> int:
    """Score a trained run, or pictures of another generator."""
    parser = _Parser(
        prog="gan-lab evaluate",
        description="Scores of a trained run with fresh noise, or of pictures that another generator made. Nothing is "
        "written but the files that are asked for.",
    )
    parser.add_argument("what", metavar="RUN_OR_FOLDER", type=Path, help="a run, a folder of pictures, or an .npz")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value",
        help="feature_extractor=..., dataset.*=... and evaluation.validation=0, which looks at the real test pictures",
    )  # fmt: skip
    parser.add_argument("--dataset", metavar="NAME", help="what pictures are compared with (a run knows its data)")
    parser.add_argument("--metrics", metavar="a,b", help="these only; gan-lab list metrics (all that can be had)")
    parser.add_argument("--samples", type=int, metavar="N", help="how many (as the run's config says; all pictures)")
    parser.add_argument("--noise-seeds", type=int, metavar="N", help="distances are the mean over so many (the run's)")
    parser.add_loading()
    parser.add_argument("--force", action="store_true", help="take lossy files, such as JPEG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores with their provenance")
    parser.add_argument("--neighbours", type=Path, metavar="FILE.png", help="the samples nearest to training pictures")
    given = parser.parse_intermixed_args(argv)
    from gan_lab.commands.evaluate import EvaluateOptions
    from gan_lab.commands.evaluate import evaluate as measure

    metrics = None if given.metrics is None else [name for name in given.metrics.split(",") if name]
    measure(
        EvaluateOptions(
            given.what, given.dataset, metrics, given.samples, given.noise_seeds, given.checkpoint, given.device,
            given.force, given.json, given.neighbours, tuple(given.overrides),
        )
    )  # fmt: skip
    return 0


def compare(argv: Sequence[str]) -> int:
    """Rank the settings of runs over their seeds."""
    parser = _Parser(
        prog="gan-lab compare",
        description="Settings of runs ranked by a score: its interquartile mean over seeds, with a bootstrap interval. "
        "Scores that were not taken alike are not ranked. Nothing is written but the files that are asked for.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_FOLDER",
        type=Path,
        help="runs, sweeps, folders of them, or files "
        "of gan-lab evaluate RUN --json FILE, whose scores then stand in for the run's own",
    )
    parser.add_argument("--metric", metavar="NAME", help="rank by this score (the one that chose the best checkpoints)")
    parser.add_argument(
        "--at", metavar="WHEN",
        help="images=N or seconds=S: scores seen while training, at equal images or seconds; without a number at the "
        "most that all reach (each run's end, with fresh noise)",
    )  # fmt: skip
    parser.add_argument("--where", metavar="key=value", action="append", default=[], help="runs with this setting only")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page: curves, tables, samples, warnings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison with every run's value")
    given = parser.parse_args(argv)
    from gan_lab.compare.command import CompareOptions
    from gan_lab.compare.command import compare as rank

    rank(CompareOptions(given.paths, given.metric, given.at, given.where, given.html, given.json))
    return 0


def dashboard(argv: Sequence[str]) -> int:
    """Make a workspace and a report in W&B for the runs of a folder, and print where they are."""
    parser = _Parser(
        prog="gan-lab dashboard",
        description="A saved workspace and a report in W&B: these runs alone, grouped by the settings in which they "
        "differ, with scores, losses, health and samples against images. Each call makes new ones.",
    )
    parser.add_argument("path", metavar="SWEEP_OR_RUN", type=Path, help="a sweep's folder, or a run directory")
    parser.add_argument("--entity", metavar="NAME", help="the user or team that has the runs (as their links say)")
    parser.add_argument("--project", metavar="NAME", help="the project that they are in (as their links say)")
    given = parser.parse_args(argv)
    from gan_lab.commands.dashboard import make

    workspace, report = make(given.path, given.entity, given.project)
    print(f"workspace  {workspace}", f"report     {report}", sep="\n")
    return 0
