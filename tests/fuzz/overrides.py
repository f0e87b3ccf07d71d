"""Random words for `gan-lab train`: keys of the config, groups, Hydra's own, flags, and values of every wrong kind."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from gan_lab.config import composition, presets
from gan_lab.config.hydra_store import without_hydra
from gan_lab.config.identity import flat
from gan_lab.registry import GROUPS
from tests.fuzz.odd import LAUGHS

BASE = (
    "experiment=ring", "trainer.images=64", "trainer.threads=1", "evaluation.metrics=[]",
    "tracking.wandb.mode=disabled", "trainer.batch_size=32", "generator.width=8", "discriminator.width=8",
)  # fmt: skip
SHOWN = (("--cfg", "job"), ("--cfg", "job", "--resolve"), ("--cfg", "all"))
ENDS = (*SHOWN * 3, *((), ("-m",)) * 4, ("--help",))  # Hydra's help takes seconds
FLAGS = (
    "--info", "-r", "--run", "--version", "--hydra-help", "--package=a", "--cfg=", "--cfg=job", "-c", "-p", "-m",
    "--config-dir=folder", "--config-dir=fifo", "--config-dir=", "--config-name=x", "-cn", "-sc", "--resolve", "--",
    "--experimental-rerun=evil.pickle", "-", "", "=", "~", "+", "++", "+=", "@", "@a=b", "a@b=c", "\0", "\x1b[2J",
)  # fmt: skip
HYDRA = (
    "hydra", "hydra.mode", "hydra.sweeper", "hydra.launcher", "hydra.verbose", "hydra/launcher", "hydra/sweeper",
    "hydra.sweeper.params", "hydra.sweeper.n_trials", "hydra.sweeper.storage", "hydra.sweeper.sampler",
    "hydra.sweeper.max_batch_size", "hydra.launcher.n_jobs", "hydra.run.dir", "hydra.searchpath", "hydra.job.name",
    "hydra.callbacks", "hydra/job_logging", "hydra.job_logging", "hydra.output_subdir",
)  # fmt: skip
VALUES = (
    "", "???", "null", "None", "~", "true", "[]", "{}", "[a]", "[[a]]", "{a:1}", "{name:mlp}", "[1,2]", "[null]",
    "glob(*)", "glob([a*],exclude=b)", "range(3,1)", "range(1,3)", "range(1,1000000000)", "choice()", "choice(1,2)",
    "choice(1)", "interval(0,1)", "interval(1,0)", "tag(log,interval(0,1))", "shuffle(range(1,3))", "sort(3,2,1)",
    "tag(a,b)", "1,2", "a,b", ",", "1,,2", "[1],[2]", "extend_list(1)", "str(1)", "int(a)", "json_str({)",
    "0", "-1", "1e400", "-inf", "nan", "inf", "0.1", str(10**18), str(10**30), "1" * 5000, "1_0", "0x10", "1e9",
    "${trainer.seed}", "${trainer.images}", "${trainer}", "${generator.width}", "${a.b}", "${.}", "${..}", "${",
    "${oc.env:HOME}", "${oc.env:SECRET}", "${oc.env:NOT_THERE}", "${no.such:1}", "${hydra:runtime}", "${hydra:x}",
    "${oc.create:{a:1}}", "${oc.decode:'{a: ${trainer.seed}}'}", "${gan_lab.job:[]}", "${oc.select:a}",
    "${oc.dict.keys:trainer}", "\\${a}", "'", '"', "'a", "\"a'b\"", "'a b'", "a b", "a\nb", "a\tb", "\0", "'\0'",
    "\x1b[2J", "'\x1b]52;c;eA==\x07'", "\x85", "\udcff", "ä", "\u202e", "😀", "a" * 300, "a" * 100_000, "[" * 3000,
    "{a:" * 500, "..", "../..", "/", ".", "/dev/null", "/dev/full", "/dev/zero/a", "fifo", "fifo/a", "file",
    "file/a", "folder", "link", "link/a", "/proc/self/mem", "/root/../proc/a", "~/x", "'a/../../b'", "a:b", "a=b", "#",
    "%s", "{0}", "$(touch marker)", "`touch marker`", "meta", "cuda:99", "auto", "none", "mlp", "adam", "ring",
    "sgd", "dcgan", "dcgan_mnist5k", "grid", "mean", "os.system", "{_target_:os.system}",
)  # fmt: skip
DAMAGED_PRESETS = (
    "", "null", "5", "[]", "a", "\0", "\x1b", ": :", "{", "defaults: 5", "defaults: [evil]", "defaults: [{a: b}]",
    "defaults:\n  - evil@_global_", "defaults: [/experiment: evil]", "trainer: null", "trainer: 5", "trainer: [1]",
    "trainer: {images: ???}", "trainer: {images: .nan}", "trainer: {images: 1, images: 2}", "trainer: &a {b: *a}",
    "trainer: &a\n  seed: *a", "optimizer: null", "optimizer: {generator: null}", "generator: null", "hydra: null",
    "hydra: {sweeper: null}", "hydra: {mode: 5}", "hydra: {sweeper: {params: null}}", "hydra: {sweeper: {params: 5}}",
    "hydra: {mode: MULTIRUN, sweeper: {params: {trainer.seed: null}}}", "generator: {_target_: os.system}",
    "generator: !!python/object/apply:os.system [touch marker]", "run_dir: .nan", "run_dir: [a]", "resume: null",
    "{[a]: b}", "{1: 2}", "{null: 2}", "{trainer: {1: 2}}", "trainer: {seed: 2001-01-01}", "? {a: b}\n: c",
    "[" * 5000, "{a: " * 5000, "a: " + "[" * 900 + "]" * 900, "trainer: !!binary aGk=", "trainer: !!set {a, b}",
    LAUGHS, "experiment: evil", "search: learning_rates", "experiment: [a]", "--- a\n--- b",
)  # fmt: skip


@cache
def keys() -> list[str]:
    """Every key of the composed config and of its sections, and every group."""
    config = without_hydra(composition.compose([*BASE, "regularizer=[r1,lecam]"]))
    leaves = list(flat(config))
    parents = {leaf.rpartition(".")[0] for leaf in leaves} - {""}
    return [*leaves, *sorted(parents), *sorted(GROUPS), "experiment", "search", "no.such", "trainer.no_such", "a b"]


@cache
def own_choices() -> dict[str, list[str]]:
    """What each group offers."""
    return {group: [*presets.options(group)] for group in presets.groups()}


def words() -> st.SearchStrategy[list[str]]:
    """One to four words: assignments, choices that exist, and flags."""
    key = st.sampled_from(keys()) | st.sampled_from(HYDRA)
    odd = st.sampled_from(VALUES)
    value = st.one_of(odd, odd, odd, st.text(max_size=8), st.integers().map(str), st.floats().map(str))
    value = value | st.builds(lambda a, b: f"{a},{b}", value, value) | st.lists(value, max_size=2).map(_listed)
    prefix = st.sampled_from(("", "", "", "", "", "", "+", "++", "~"))
    assignment = st.builds("{}{}={}".format, prefix, key, value)
    group = st.sampled_from(sorted(own_choices()))
    choice = group.flatmap(lambda name: st.sampled_from(own_choices()[name] or ["none"]).map(lambda o: f"{name}={o}"))
    word = st.one_of(assignment, assignment, assignment, choice, st.sampled_from(FLAGS), key.map("~{}".format))
    return st.lists(word, min_size=1, max_size=1) | st.lists(word, min_size=1, max_size=4)  # a wrong word hides others


def _listed(values: list[str]) -> str:
    return f"[{','.join(values)}]"


def presets_of_a_stranger() -> st.SearchStrategy[str]:
    """The text of mine/experiment/evil.yaml; mostly there is none."""
    header = st.sampled_from(
        ["", *(f"# @package {name}\n" for name in ("_global_", "_global_", "hydra", "trainer", "5"))]
    )
    none = st.just("")
    return st.one_of(none, none, none, st.builds(str.__add__, header, st.sampled_from(DAMAGED_PRESETS)))
