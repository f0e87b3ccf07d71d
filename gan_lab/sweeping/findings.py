"""The results of a search: its best trials, and the importance of each setting."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_lab.core.files import BadFile, is_count, read_object, write_atomically
from gan_lab.display.terminal import shortened
from gan_lab.tracking.summary import is_number

if TYPE_CHECKING:
    from gan_lab.sweeping.study import Search

FINDINGS = "study.json"


def findings(search: Search) -> list[str]:
    """Lines with the number of trials, the best ones and the importances; also written to the sweep's folder."""
    from gan_lab.sweeping.study import ABANDONED

    study = search.open()
    states = [trial.state.name for trial in study.get_trials() if not trial.user_attrs.get(ABANDONED)]
    counts = f"{states.count('COMPLETE')} finished, {states.count('PRUNED')} pruned, {states.count('FAIL')} failed"
    lines = [f"\n{len(states)} trials: {counts}"]
    content: dict[str, Any] = {"trials": len(states), "told": counts, "best": [], "importances": {}}
    if "COMPLETE" in states:
        words = [name.split("/")[0] for name, _ in search.objectives]
        for trial in study.best_trials:
            values = dict(zip(words, trial.values, strict=True))
            content["best"].append({"trial": trial.number, "values": values, "params": trial.params})
        content["importances"] = importances(study)
        for best in content["best"][:5]:
            settings = " ".join(f"{search.labels[k]}={shortened(str(v))}" for k, v in best["params"].items())
            scores = " ".join(f"{word} {value:.4g}" for word, value in best["values"].items())
            lines.append(f"best      {scores}  {settings}  (trial {best['trial']})")
    if content["importances"]:
        shares = (f"{search.labels[key]} {share:.0%}" for key, share in content["importances"].items())
        lines.append(f"matters   {'  '.join(shares)}")
    with contextlib.suppress(OSError):
        write_atomically(search.folder / FINDINGS, json.dumps(content, indent=1) + "\n")
    return lines


def importances(study: Any) -> dict[str, float]:
    """The share of the good scores that each setting explains (PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255).

    Empty where it cannot be computed: too few trials, equal scores, or several objectives.
    """
    import optuna

    if len(study.directions) > 1:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna warns where there are too few trials, or all are equal
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (RuntimeError, ValueError, ImportError, Warning):
        return {}


def read_findings(folder: Path) -> dict[str, Any] | None:
    """The results of the search in this folder, or None where there was no search or its file is damaged."""
    try:
        content = read_object(folder / FINDINGS)
    except (OSError, BadFile):
        return None
    importances, best = content.get("importances"), content.get("best")
    told = isinstance(content.get("told"), str) and is_count(content.get("trials"))
    whole = told and _numbers(importances) and isinstance(best, list) and all(map(_is_trial, best))
    return content if whole else None


def _numbers(values: Any) -> bool:
    return isinstance(values, dict) and all(value is not None and is_number(value) for value in values.values())


def _is_trial(entry: Any) -> bool:
    known = isinstance(entry, dict) and is_count(entry.get("trial")) and isinstance(entry.get("params"), dict)
    return known and _numbers(entry.get("values"))


def one_line_summary(content: dict[str, Any]) -> str:
    """The results of `read_findings` in one line."""
    shares = ", ".join(f"{key} {share:.0%}" for key, share in content["importances"].items())
    text = f"search of {content['trials']} trials: {content['told']}"
    return text + (f"; what matters: {shares}" if shares else "")
