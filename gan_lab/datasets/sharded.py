"""What is read from a shard, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

LARGEST = 256 << 20  # bytes of one picture: more than the largest that is decoded has


class Sample(NamedTuple):
    """A picture as it is in a shard, and its class where there is one."""

    name: str  # shard and key, for messages
    picture: bytes
    label: int | None


class Fault(NamedTuple):
    """A sample that cannot be taken, and why. The rest of its shard can."""

    name: str
    why: str
