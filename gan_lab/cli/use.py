"""Commands that use a trained run: sample, play, apply, score, evaluate, export, push."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gan_lab.cli.parsing import CHECKPOINT, Parser


def sample(argv: Sequence[str]) -> int:
    """Write samples of a trained run: a .png grid, an .npz, or a folder of PNGs."""
    parser = Parser(prog="gan-lab sample", description="Pictures from a trained run.")
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--num", type=int, help="how many (64); with --grid rows, or pictures a class (8)")
    parser.add_argument("--seed", type=int, default=0, help="a seed gives the same pictures anywhere (0)")
    parser.add_argument("--label", help="of these classes only, by number or name: 3, or 3,5 (all of them)")
    parser.add_argument(
        "--grid", metavar="LAYOUT",
        help="interpolation: rows from one latent to another; classes: a row for each class; "
        "neighbours: samples beside the training pictures nearest to them; directions: rows along the latents' "
        "principal directions; truncation: samples of all latents, then of those near zero; style-mixing: samples "
        "with some layers' styles of others",
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


def play(argv: Sequence[str]) -> int:
    """Play with a trained run in a web page."""
    parser = Parser(
        prog="gan-lab play",
        description="A web page to play with a trained run: seeds, classes, sliders and interpolation of a generator, "
        "your own pictures through a translator or a detector. It is at 127.0.0.1, for this machine alone.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, an exported file, or hf://OWNER/NAME")
    parser.add_argument("--port", type=int, metavar="N", help="0: any that is free (7860, or any if that is taken)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_loading()
    given = parser.parse_args(argv)
    from gan_lab.playing.command import play as serve

    return serve(given.run, which=given.checkpoint, device=given.device, port=given.port, opens=given.open)


def apply(argv: Sequence[str]) -> int:
    """Put files of the user's own through a trained network."""
    parser = Parser(
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
    parser = Parser(
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
    parser = Parser(
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


def export(argv: Sequence[str]) -> int:
    """Write a run as one file."""
    parser = Parser(
        prog="gan-lab export",
        description="A run as one file. safetensors: all networks, which gan_lab.load and every command take in place "
        "of the run. onnx: what the run makes, as a function for other programs, checked by onnxruntime.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--format", help="safetensors or onnx (as the file's name says)")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=".safetensors or .onnx; it must be new")
    parser.add_argument("--direction", metavar="NAME", help="onnx, of a run that translates both ways (a_to_b)")
    parser.add_loading()
    given = parser.parse_args(argv)
    from gan_lab.commands.export import export as write

    said = write(
        given.run, given.format, given.out, which=given.checkpoint, device=given.device, direction=given.direction
    )
    print(said)
    return 0


def push(argv: Sequence[str]) -> int:
    """Share a run."""
    parser = Parser(
        prog="gan-lab push",
        description="A run for others: model.safetensors, config.json, samples.png and a card, README.md, written from "
        "the run. To the Hugging Face Hub, or with --out into a folder. No secret or path of this machine is in it.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("name", metavar="OWNER/NAME", nargs="?", help="a new repository, private unless --public")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write the same folder here, without any network")
    parser.add_argument("--license", metavar="ID", help="as the Hub calls it, such as mit (unknown)")
    parser.add_argument("--public", action="store_true", help="everybody may see it")
    parser.add_argument("--update", action="store_true", help="replace the files of a repository that is there")
    parser.add_argument("--checkpoint", default="newest", metavar="WHICH", help=CHECKPOINT)
    given = parser.parse_args(argv)
    from gan_lab.commands.push import push as share

    said = share(
        given.run, given.name, out=given.out, licence=given.license, public=given.public, update=given.update,
        which=given.checkpoint,
    )  # fmt: skip
    print(said)
    return 0
