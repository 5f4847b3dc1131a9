"""The reference page of the simulator: events, faults, oddities and faults of the wire. See `reference`.

Made of the simulator's own tables, so that no fault can be missing from the page.
"""

import msgspec

from dcap.simulator.events import EVENTS
from dcap.simulator.faults import FAULTS, ODDITIES, Fault
from dcap.simulator.wire_faults import WIRE_FAULTS
from reference_markup import Row, first_line, table

INTRODUCTION = """
# Simulator

What can happen in a simulated world, and what can be wrong in it. How to use it is on
[its own page](../simulator.md).
"""

EVENTS_TEXT = """`dcap sim event NAME`; in Python, `dcap.simulator.events`. Those of the clock are
`dcap sim clock`."""

FAULTS_TEXT = """`dcap sim fault NAME -o DIR`; in Python, `dcap.simulator.faults.FAULTS`. Each departs
from the truth in one thing, and must be refused for the [finding](findings.md) (or [error](errors.md))
beside it, and for no other than those."""

ODDITIES_TEXT = """Odd and harmless: a verifier that refuses one of these is wrong."""

WIRE_TEXT = """`dcap sim up --wire-fault NAME`; in Python, `dcap.simulator.wire_faults.WIRE_FAULTS`. The
services answer, but not as they should."""


def simulator_page() -> str:
    """Every event, every fault."""
    events = [
        (f"`{name}`", ", ".join(_fields(kind)), first_line(kind)) for name, kind in EVENTS.items()
    ]
    wire = [(f"`{name}`", first_line(fault)) for name, fault in WIRE_FAULTS.items()]
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            "## Events",
            EVENTS_TEXT,
            table(("event", "takes", "what happens"), events),
            "## Faults",
            FAULTS_TEXT,
            table(("fault", "what is wrong", "finding"), [_row(f) for f in FAULTS.values()]),
            "## Oddities",
            ODDITIES_TEXT,
            table(("oddity", "what is odd"), [_row(f)[:2] for f in ODDITIES.values()]),
            "## Faults on the wire",
            WIRE_TEXT,
            table(("fault", "what a client meets"), wire),
        ]
    )


def _fields(kind: type[msgspec.Struct]) -> list[str]:
    return [f"`{field.name}`" for field in msgspec.structs.fields(kind)] or ["nothing"]


def _row(fault: Fault) -> Row:
    codes = ", ".join(f"`{code}`" for code in (fault.finding, *fault.also) if code)
    return f"`{fault.name}`", fault.sentence, codes
