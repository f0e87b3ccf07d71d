"""The results of a search: its best trials, and the importance of each setting."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_lab.display.terminal import shortened
from gan_lab.tracking.run_directory import write_atomically

if TYPE_CHECKING:
    from gan_lab.sweep.study import Search

FINDINGS = "study.json"


def findings(search: Search) -> list[str]:
    """Lines with the number of trials, the best ones and the importances; also written to the sweep's folder."""
    from gan_lab.sweep.study import ABANDONED

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
        content: dict[str, Any] = json.loads((folder / FINDINGS).read_text())
        return content if one_line_summary(content) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def one_line_summary(content: dict[str, Any]) -> str:
    """The results of `read_findings` in one line. Raises KeyError and the like for a damaged file."""
    shares = ", ".join(f"{key} {share:.0%}" for key, share in content["importances"].items())
    text = f"search of {content['trials']} trials: {content['told']}"
    return text + (f"; what matters: {shares}" if shares else "")
