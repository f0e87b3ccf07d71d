"""The card of a shared run, README.md: what it is, how it was made, how good it is, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

APART = (
    "tracking", "run_dir", "sweep_dir", "sweep_name", "init_from", "resume", "evaluation", "dataset", "experiment",
)  # fmt: skip
BESIDE = (
    ("samples", "samples"), ("noise_seeds", "noise seeds"), ("weights", "weights"), ("floor", "floor"),
    ("deviation_over_noise", "deviation over noise"), ("standard_error", "standard error"), ("resize", "resize"),
)  # fmt: skip


def card(name: str, about: Mapping[str, Any], licence: str | None, picture: str | None) -> str:
    """The text of README.md. `about` is an exported run's header; `picture` is the name of a file beside it."""
    config, summary = about["config"], about["summary"]
    task, dataset = config["task"]["name"], config["dataset"]["name"]
    tags = ["gan", "pytorch", "gan_lab", task]
    head = {"license": licence or "unknown", "library_name": "gan_lab", "tags": tags}
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {name.rpartition('/')[2]}", ""]
    lines += [
        f"A run of `task={task}` on `{dataset}`, trained for {about['images']:,} images with gan_lab "
        f"{about['gan_lab']}.",
        "",
    ]
    if picture:
        caption = summary.get("caption")
        lines += [f"![Samples]({picture})", "", *([f"*{_plain(caption)}*", ""] if caption else [])]
    lines += ["## Load", "", "```python", "import gan_lab", "", f'run = gan_lab.load("hf://{name}")']
    lines += ["run.show()", "run.sample(64, seed=0)", "```", ""]
    lines += ['It needs `pip install "hydra-gan-lab[hub]"`. The weights alone: `safetensors.torch.load_file`.', ""]
    if plugins := about["about"].get("plugins"):
        lines += [f'It uses plug-ins, which are not here: `GAN_LAB_PLUGINS="{" ".join(plugins)}"`.', ""]
    lines += ["## Recipe", "", "```yaml", _recipe(config).strip(), "```", ""]
    lines += ["## Data", "", *_data(about["about"], config), ""]
    lines += ["## Scores", "", *_scores(summary.get("metrics") or {}), ""]
    lines += ["## Training", "", *_training(about, summary), ""]
    stated = f"`{licence}`." if licence else "None was stated: ask its owner before you use it."
    return "\n".join([*lines, "## Licence", "", stated, ""])


def _recipe(config: Mapping[str, Any]) -> str:
    """The parts and their settings, and how long they were trained. The data have a section of their own."""
    parts = {name: value for name, value in config.items() if name not in APART and value not in (None, {}, [])}
    return str(yaml.safe_dump(parts, sort_keys=False, allow_unicode=True)).replace("```", "'" * 3)


def _data(about: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    lines = [f"- `{config['dataset']['name']}`, samples of {' x '.join(map(str, about['sample_shape']))}"]
    if classes := about.get("num_classes"):
        names = about.get("class_names") or []
        lines.append(f"- {classes} classes" + (f": {', '.join(map(_plain, names[:50]))}" if names else ""))
    settings = {name: value for name, value in config["dataset"].items() if name != "name" and value is not None}
    return [*lines, *(f"- `{name}`: {_plain(value)}" for name, value in settings.items())]


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    known = {name: entry for name, entry in metrics.items() if isinstance(entry.get("value"), (int, float))}
    if not known:
        return ["It was not scored."]
    rows = [f"| {_plain(name)} | {entry['value']:.4g} | {_plain(how_taken(entry))} |" for name, entry in known.items()]
    versions = next(iter(known.values())).get("versions")
    said = ", ".join(f"{package} {version}" for package, version in dict(versions or {}).items()) or "gan_lab"
    table = ["| score | value | how it was taken |", "|---|---|---|", *rows]
    return [*table, "", f"Computed with {_plain(said)}. Numbers that were not taken alike cannot be compared."]


def how_taken(entry: Mapping[str, Any]) -> str:
    """A score's provenance in a line."""
    found = []
    for key, word in BESIDE:
        if (value := entry.get(key)) is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            found.append(f"{word} {f'{value:.3g}' if isinstance(value, float) else shown}")
    return "; ".join(found)


def _training(about: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    lines = [f"- {about['images']:,} images, weights: {about['averaged_by'] or 'the last ones'}"]
    if seconds := summary.get("seconds"):
        lines.append(f"- {seconds:,.0f} seconds")
    if versions := about["about"].get("versions"):
        lines.append(f"- {', '.join(f'{_plain(name)} {_plain(version)}' for name, version in versions.items())}")
    for warning in summary.get("health") or ():
        lines.append(f"- health: {_plain(warning['title'])}, until {warning['last']:,} images")
    for back in summary.get("rollbacks") or ():
        lines.append(f"- it diverged at {back['from']:,} images and went back to {back['to']:,}")
    return lines


def _plain(value: Any) -> str:
    """A value in a line of Markdown, without what Markdown and HTML would take for markup."""
    return re.sub(r"([|<>`*\[\]\\])", r"\\\1", " ".join(str(value).split()))
