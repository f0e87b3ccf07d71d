"""python -m tests.fuzz --overrides 2000 --damage 10000: all cases, a table of figures, and every cause, shrunk."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.cases import KINDS, shared_out
from tests.fuzz.harness import Verdict
from tests.fuzz.lab import Lab
from tests.fuzz.search import Found, search, shrunk

EVERY = 100  # cases between two lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--overrides", type=int, default=0, metavar="N", help="lists of words for gan-lab train")
    parser.add_argument("--damage", type=int, default=0, metavar="N", help="damaged files: half of them in runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--log", type=Path, help="a line for each failing case, as it is met")
    given = parser.parse_args()
    counts = shared_out(given.overrides, given.damage)
    figures: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(prefix="gan-lab-fuzz-") as folder:
        lab = Lab(Path(folder))
        for kind, strategy in KINDS.items():
            if not (count := counts[kind]):
                continue
            begin = time.monotonic()

            seen: list[Verdict] = []

            def tell(case: Any, verdict: Verdict, kind: str = kind, seen: list[Verdict] = seen) -> None:
                seen.append(verdict)
                if len(seen) % EVERY == 0:  # a run that is stopped has its figures so far
                    failing = sum(bool(v.cause) for v in seen)
                    longest = max(v.seconds for v in seen)
                    print(f"{kind}: {len(seen)} so far, {failing} failing, longest {longest:.1f} s", flush=True)
                if verdict.cause and given.log:
                    with given.log.open("a") as file:
                        print(verdict.cause, repr(case)[:2000], repr(verdict.output[-1500:]), sep=" | ", file=file)

            drawn = strategy(lab)
            found = figures[kind] = search(drawn, lab, count, given.seed, tell)
            print(f"{kind}: {_figures(found)}; {time.monotonic() - begin:.0f} s", flush=True)
            for cause, times in found.causes.most_common():
                index, case, verdict = found.first[cause]
                if not given.no_shrink:
                    case, verdict = shrunk(drawn, lab, count, given.seed, cause, index)
                print(f"\n{times} x {cause}\n  {repr(case)[:600]}", *_end(verdict), sep="\n  ", flush=True)
    return int(any(found.causes for found in figures.values()))


def _figures(found: Found) -> str:
    verdicts = found.verdicts
    codes = ", ".join(f"{code}: {n}" for code, n in sorted(Counter(v.code for v in verdicts).items()))
    return (
        f"{len(verdicts)} cases, exit codes {codes}; tracebacks {sum('traceback' in v.cause for v in verdicts)}, "
        f"hangs {sum(v.code == -1 for v in verdicts)}, failing {sum(found.causes.values())} of {len(found.causes)} "
        f"causes; longest {max(v.seconds for v in verdicts):.1f} s, "
        f"most memory {max(v.memory for v in verdicts) / 2**20:.0f} MB"
    )


def _end(verdict: Verdict) -> list[str]:
    return [line[:200] for line in verdict.output.splitlines()[-6:]]


if __name__ == "__main__":
    sys.exit(main())
