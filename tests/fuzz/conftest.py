"""One lab for all kinds of cases, and how many cases there are: GAN_LAB_FUZZ=overrides,damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.cases import shared_out
from tests.fuzz.lab import Lab


@pytest.fixture(scope="session")
def counts() -> dict[str, int]:
    override_lists, damaged_files = map(int, os.environ.get("GAN_LAB_FUZZ", "200,500").split(","))
    return shared_out(override_lists, damaged_files)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:  # the lab sets variables of the environment for its children
        for name in ("GAN_LAB_CACHE", "OMP_NUM_THREADS", "WANDB_API_KEY", "SLURM_JOB_ID"):
            patch.setenv(name, os.environ.get(name, ""))
        yield Lab(Path(tmp_path_factory.mktemp("fuzz")))
