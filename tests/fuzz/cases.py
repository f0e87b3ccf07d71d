"""The kinds of cases: what hypothesis draws, and what a child does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st

from gan_lab.cli import main
from tests.fuzz import overrides
from tests.fuzz.damage import NAN, Damage, copied, damages
from tests.fuzz.harness import Verdict, verdict
from tests.fuzz.lab import SUBJECTS, Lab
from tests.fuzz.readers import READERS, Edit, edited, edits

RUN = "run"
AGAIN: tuple[str, ...] = ("train",)  # the words of the training again
FURTHER = ("train", "trainer.images=192")  # which goes on from the newest checkpoint
LAST_NET = "gan-lab: unexpected "  # how `main` begins its line for an error that no code of ours foresaw
READING = {
    "ring": (
        ("compare", RUN), ("compare", RUN, "--html", "page.html", "--json", "page.json"), ("sample", RUN, "--num", "4"),
        ("compare", RUN, "--at", "images"), ("sample", RUN, "--num", "4", "--checkpoint", "best"), ("dashboard", RUN),
        ("evaluate", RUN, "--samples", "50", "--json", "scores.json"),
    ),
    "pictures": (
        ("compare", RUN, "--html", "page.html"), ("sample", RUN, "--num", "4", "--out", "samples.npz"),
        ("sample", RUN, "--num", "2", "--grid", "interpolation"),
        ("evaluate", RUN, "--samples", "70", "--metrics", "fd"),
        ("sample", RUN, "--checkpoint", "32", "--out", "samples"), ("dashboard", RUN),
    ),
    "sweep": (("compare", RUN), ("compare", RUN, "--html", "page.html"), ("dashboard", RUN)),
}  # fmt: skip


class Case:
    """One thing to try in a working directory of its own."""

    def prepare(self, lab: Lab, folder: Path) -> tuple[Callable[[], int], Path | None]:
        """What the child does, and the directory that it may only read."""
        raise NotImplementedError

    def run(self, lab: Lab) -> Verdict:
        found = self._judged(lab)
        if LAST_NET in found.output and not found.cause:  # an error that nobody expected, in a line: where was it?
            with lab.debugging():
                again = self._judged(lab)
            return replace(found, cause=again.cause.replace("traceback", "unexpected"), output=again.output)
        return found

    def _judged(self, lab: Lab) -> Verdict:
        folder = lab.new()
        try:
            do, read_only = self.prepare(lab, folder)
            return verdict(do, folder, read_only=read_only)
        finally:
            lab.drop(folder)


@dataclass(frozen=True)
class Overrides(Case):
    """A command line of `gan-lab train`, perhaps with a preset of a stranger."""

    words: list[str]
    end: tuple[str, ...] = ()
    preset: str = ""

    def prepare(self, lab: Lab, folder: Path) -> tuple[Callable[[], int], Path | None]:
        chosen: tuple[str, ...] = ()
        if self.preset:
            file = folder / "mine" / "experiment" / "evil.yaml"
            file.parent.mkdir(parents=True)
            file.write_text(self.preset)
            chosen = ("--config-dir", "mine", "experiment=evil")
        argv = ["train", *overrides.BASE, *chosen, *self.words, *self.end]
        return lambda: main(argv), None


@dataclass(frozen=True)
class Damaged(Case):
    """A run directory with one thing broken, and a command that meets it."""

    subject: str
    damage: Damage
    command: tuple[str, ...]

    def run(self, lab: Lab) -> Verdict:
        """As any case; and a training must not go on from a state with NaN."""
        found = super().run(lab)
        newest = max((file for file in lab.files(self.subject) if file.endswith("state.pt")), default="")
        went_on = self.command == FURTHER and found.code == 0 and "damaged" not in found.output
        if self.damage.how == NAN and self.damage.file == newest and went_on and not found.cause:
            return replace(found, cause="NaN of a state taken in silence")
        return found

    def prepare(self, lab: Lab, folder: Path) -> tuple[Callable[[], int], Path | None]:
        run = copied(lab.subjects[self.subject], folder / RUN)
        self.damage.do(run)
        command, *more = self.command
        if command != "train":
            return lambda: main([command, *more]), run
        words = SUBJECTS[self.subject]
        where = f"{'sweep' if '-m' in words else 'run'}_dir={RUN}"
        return lambda: main(["train", *words, *more, where]), None


@dataclass(frozen=True)
class Read(Case):
    """A file with some bytes changed, and the reader that it is for."""

    reader: str
    file: str
    edits: list[Edit]

    def prepare(self, lab: Lab, folder: Path) -> tuple[Callable[[], int], Path | None]:
        reader = READERS[self.reader]
        run = copied(lab.subjects["ring"], folder / RUN)
        file = run / self.file
        content = file.read_bytes() if file.exists() else reader.files(run)[self.file]
        file.write_bytes(edited(content, self.edits))
        return lambda: reader.call(file), None


def override_lists() -> st.SearchStrategy[Overrides]:
    ends = st.sampled_from(overrides.ENDS)
    return st.builds(Overrides, overrides.words(), ends, overrides.presets_of_a_stranger())


def damaged_runs(lab: Lab) -> st.SearchStrategy[Damaged]:
    def of(subject: str) -> st.SearchStrategy[Damaged]:
        again = (AGAIN,) if subject == "sweep" else (AGAIN, FURTHER, FURTHER)
        commands = st.sampled_from((*READING[subject], *again))
        return st.builds(Damaged, st.just(subject), damages(lab.files(subject)), commands)

    return st.sampled_from(("ring", "ring", "ring", "pictures", "pictures", "sweep")).flatmap(of)


def reads(lab: Lab) -> st.SearchStrategy[Read]:
    names = {reader: sorted(READERS[reader].files(lab.subjects["ring"])) for reader in READERS}
    reader = st.sampled_from(list(READERS))
    return reader.flatmap(lambda name: st.builds(Read, st.just(name), st.sampled_from(names[name]), edits()))


KINDS: dict[str, Callable[[Lab], st.SearchStrategy]] = {
    "overrides": lambda lab: override_lists(),
    "damage": damaged_runs,
    "reads": reads,
}


def shared_out(override_lists: int, damaged_files: int) -> dict[str, int]:
    """How many cases of each kind: half of the damaged files lie in runs, half are for the readers alone."""
    in_runs = damaged_files // 2
    return {"overrides": override_lists, "damage": in_runs, "reads": damaged_files - in_runs}
