"""The reference page of a result's JSON: names and types from real results, meanings by hand.

The meanings stand in `docs/reference/result.toml`. A name that some result has and that file lacks,
or the reverse, stops the page from being made.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import msgspec

from dcap.appraisal import AttestationResult, Policy, Release, appraise
from dcap.appraisal.claims import claims_of
from dcap.formats.origin import Origin
from dcap.formats.quote import Quote
from departures import World, components_of
from reference_markup import table
from worlds import AT, ROOT, anchor_of, collateral_of

MEANINGS = ROOT / "docs" / "reference" / "result.toml"
#: A result of collateral that was fetched says from where.
ORIGINS = (
    Origin(piece="tcb_info", source="Intel PCS", address="https://…", fetched_at=AT, cached=True),
)
REMARK = "the server's certificate was not checked"


INTRODUCTION = """
# Result

What `dcap verify --json` prints and `AttestationResult.to_json()` returns. Names keep their meaning;
`schema` counts changes that would break a reader. New names may come at any time: skip what you do not
know.

What could not be learned is null or absent: `platform` is empty where the PCK certificate could not be
read, `collateral` has two names, both null, where the quote was not proven, and `claims`, which are what
the quote says, true or not, are those of its TEE.

Where no result can be made (a wrong flag, no collateral at all), `dcap verify --json` prints
`{"schema": 1, "error": {"code", "what", "where", "mend"}}` instead: look for `error` first.
"""


def result_page() -> str:
    """The JSON of a result: every name, its types as they occur, its meaning."""
    samples = list(_samples())
    found: dict[str, set[str]] = {}
    for sample in samples:
        _collect(sample, "", found)
    meanings = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    described = {
        (f"{section}.{name}" if section != "result" else name): meaning
        for section, names in meanings.items()
        for name, meaning in names.items()
    }
    missing, unknown = found.keys() - described.keys(), described.keys() - found.keys()
    if missing or unknown:
        raise SystemExit(
            f"docs/reference/result.toml lacks {sorted(missing)}, has too much {sorted(unknown)}"
        )
    rows = [(f"`{name}`", _types(found[name]), meaning) for name, meaning in described.items()]
    example = _shortened(samples[0])
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            table(("name", "type", "meaning"), rows),
            "## Example",
            (
                "A simulated SGX quote, under a test root, on a platform that is out of date. "
                f"Of its {len(samples[0]['findings'])} findings two are shown, of the "
                f"{len(samples[0]['collateral']['pieces'])} pieces of collateral one."
            ),
            f"```json\n{_json(example)}\n```",
        ]
    )


def _samples() -> Iterator[dict[str, Any]]:
    """Results that have every name of the JSON between them; the first is the example."""
    world = World(at=AT)
    signer = Policy(
        name="example",
        releases=(Release(name="v1.4.2", mrsigner=_claims(world, "sgx")["mrsigner"]),),
    )
    low = {"components": components_of("OutOfDate")}
    yield _judge(world, "sgx", signer, pck=world.pck(**low)).to_dict()
    any_identity = Policy(identity="any")
    fetched = _judge(world, "sgx", any_identity, ca="platform").with_origins(ORIGINS, (REMARK,))
    yield fetched.to_dict(platform_ids=True)
    tdx = {"version": 5, "body_type": 4, "ca": "platform"}
    yield _judge(world, "tdx", any_identity, **tdx).to_dict(platform_ids=True)
    yield _judge(world, "sgx", signer, signature=bytes(64)).to_dict()
    hexed = appraise(
        world.quote().hex().encode(), collateral_of(world.collateral()), any_identity, at=AT
    )
    yield hexed.to_dict()
    yield appraise(b"no quote", None, Policy(), at=AT).to_dict()


def _claims(world: World, tee: str) -> dict[str, Any]:
    return claims_of(Quote.parse(world.quote(tee=tee)))


def _judge(world: World, tee: str, wanted: Policy, **draft: Any) -> AttestationResult:
    beside = {name: draft[name] for name in ("pck", "ca") if name in draft}
    collateral = collateral_of(world.collateral(tee, **beside))
    quote = world.quote(tee=tee, **draft)
    return appraise(quote, collateral, wanted, at=AT, anchor=anchor_of(world))


def _collect(value: object, path: str, found: dict[str, set[str]]) -> None:
    """Note the types of `value` under `path`, and of everything within."""
    if isinstance(value, dict):
        for name, member in value.items():
            _collect(member, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        kinds = found.setdefault(path, set())
        kinds |= {f"list of {_word(one)}" for one in value} or {"list"}
        for one in value:
            if isinstance(one, dict):
                _collect(one, f"{path}[]", found)
    else:
        found.setdefault(path, set()).add(_word(value))


def _word(value: object) -> str:
    words = {bool: "true or false", int: "number", dict: "objects", type(None): "null"}
    return words.get(type(value), "text")


def _types(kinds: set[str]) -> str:
    if len(kinds) > 1:
        kinds = kinds - {"list"}
    return " or ".join(sorted(kinds, key=lambda kind: (kind == "null", kind)))


def _shortened(sample: dict[str, Any]) -> dict[str, Any]:
    passed = next(finding for finding in sample["findings"] if finding["ok"])
    failed = next(finding for finding in sample["findings"] if not finding["ok"])
    collateral = {**sample["collateral"], "pieces": sample["collateral"]["pieces"][:1]}
    return {**sample, "findings": [passed, failed], "collateral": collateral}


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
