"""Values that no file of ours holds, as the text of JSON and YAML."""

from __future__ import annotations

from tests.fuzz.harness import MARKER

DEEP = 100_000
# Raw text, because no library would write it. For JSON, and with the dots below for YAML.
ODD_JSON = (
    "null", "true", "0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "1" + "0" * 400, str(2**63), str(10**18),
    '""', '"a"', '"\\u001b[2J"', '"\\u0000"', '"\\ud800"', '"../../outside"', '"/dev/zero"', '"' + "a" * 100_000 + '"',
    "[]", "{}", "[[]]", "[null]", '{"a": null}', '{"": {}}', '["a"]', "[1, 2]", "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP, '"<script>alert(1)</script>"', "[1e400]", '"2026-01-01"', '"${oc.env:HOME}"',
)  # fmt: skip
LAUGHS = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x]", *(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi",
    strict=True))]
)  # fmt: skip
ODD_YAML = (
    ".nan", ".inf", "-.inf", "???", "2001-01-01", "1e400", "!!binary aGk=", "!!set {a, b}", "*unknown", "&a [*a]",
    "${trainer.seed}", "${trainer}", "${a.b}", "${oc.env:HOME}", "${oc.env:SECRET}", "${no.such:1}", "${", "~",
    f"!!python/object/apply:os.system [touch {MARKER}]", "{_target_: os.system}", "[" * 5000, "{1: 2}", "{null: 2}",
    "|\n  a", "'\\x1b[2J'", '"\\e[2J"', '"\\0"', "1_000", "0o17", "12:30:45", "clip", "inception-v3-compat", "evil.pt",
    "{name: mlp}", "{name: clip, weights: evil.pt}", str(10**10), "100000", "64", *ODD_JSON,
)  # fmt: skip
WHOLE_YAML = (LAUGHS, "[" * DEEP, "{a: " * DEEP, "- " * DEEP, "5", "null", "[]", "--- a\n--- b", "\0", "? [a]\n: b")
