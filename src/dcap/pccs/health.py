"""How a service does: what probes, Prometheus and `dcap pccs status` are told.

    checks(parts, watch_answers=True, stopping=False)    # for /healthz/ready
    status(parts, …)                                     # /status.json, a plain value
    figures(status)                                      # the gauges of /metrics

Nothing of it names a machine: collateral is named by its key, machines are counted. Each of several
workers knows its own upstream alone; counters are added up (`metrics`).

Not here: what is judged by it (`cli.pccs_status`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from dcap.errors import DcapError
from dcap.pccs import renewal, tls
from dcap.pccs.age import is_early
from dcap.pccs.assembly import Parts
from dcap.pccs.items import CrlKey, ItemSummary
from dcap.pccs.metrics import Counted, Counters, Figure, Sample
from dcap.pccs.upstream import is_oversized

JSON: Final = "application/json; charset=utf-8"
_STATES: Final = ("closed", "probing", "throttled", "resting")
_QUEUES: Final = ("NEW", "NOT_AVAILABLE")
_LONGEST: Final = 120
_RECENT: Final = 20
#: For how many hours back machines are counted that asked: name -> hours.
_SEEN: Final = {"day": 24, "month": 30 * 24}


class Hot(msgspec.Struct, frozen=True, kw_only=True):
    """What the table of ready answers holds, in the worker that was asked."""

    answers: int
    size: int


def status(parts: Parts, counters: Counters, hot: Hot, *, version: str) -> dict[str, Any]:
    """Everything, as a plain value. Raises the store's errors."""
    at = parts.service.clock()
    kept = parts.store.statistics()
    items = parts.store.items.summaries()
    ready, computed = counters.total(Counted.HOT), counters.total(Counted.COMPUTED)
    return {
        "version": version,
        "at": _text(at),
        "mode": parts.service.mode.value,
        "store": parts.store.place,
        "trust_root": parts.upstream.anchor.name,
        "kept": {
            "items": kept.items,
            "platforms": kept.platforms,
            "seen": {
                name: parts.store.platforms.count_seen(at - timedelta(hours=hours))
                for name, hours in _SEEN.items()
            },
            "chains": kept.chains,
            "policies": kept.policies,
        },
        "queue": {state: kept.registrations.get(state, 0) for state in _QUEUES},
        "items": [_item(one, at) for one in sorted(_watched(items, at), key=_end_of)],
        "upstream": [_supplier(one) for one in parts.upstream.health()],
        "incidents": [_incident(one) for one in list(parts.upstream.incidents)[-_RECENT:]],
        "causes": parts.service.counts(),
        "answers": {
            "ready": int(ready),
            "computed": int(computed),
            "hit_ratio": round(ready / (ready + computed), 4) if ready + computed else None,
            "table": msgspec.structs.asdict(hot),
        },
        "tls": _tls(parts),
        "tokens": {"fault": None if (fault := parts.tokens.fault()) is None else fault.what},
    }


def _watched(items: Sequence[ItemSummary], at: datetime) -> list[ItemSummary]:
    """Without those whose end is nobody's concern: what is had by another name, or by no other way."""
    by_key = {one.key: one for one in items}
    return [one for one in items if renewal.is_watched(one, by_key, at)]


def _item(one: ItemSummary, at: datetime) -> dict[str, Any]:
    left = None if one.expires is None else (one.expires - at).total_seconds()
    return {
        "key": name_of(one),
        "number": one.number,
        "issued": _text(one.issued),
        "expires": _text(one.expires),
        "days_left": None if left is None else round(left / 86400, 2),
        "fetched_at": _text(one.fetched_at),
        "origin": one.origin,
        "size": one.size,
        "early": is_early(one, at),
        "oversized": is_oversized(one.key, one.size, one.chain_size),
    }


def name_of(one: ItemSummary) -> str:
    """The item's key, cut where it is an address that somebody chose."""
    text = one.key.text
    return text[:_LONGEST] if isinstance(one.key, CrlKey) else text


def _end_of(one: ItemSummary) -> tuple[datetime, str]:
    return one.expires or datetime.max.replace(tzinfo=UTC), one.key.text


def _supplier(one: Any) -> dict[str, Any]:  # noqa: ANN401 - upstream.SupplierHealth
    states = [line.state for line in one.lines]
    worst = max(states, key=_STATES.index, default="closed")
    return {
        "name": one.name,
        "state": worst,
        "fetched": one.fetched,
        "calls": sum(line.calls for line in one.lines),
        "failures": sum(line.failures for line in one.lines),
        "causes": dict(one.causes),
        "last_success": _text(one.last_success),
        "failing": one.failing,
    }


def _incident(one: Any) -> dict[str, Any]:  # noqa: ANN401 - upstream.Incident
    return {
        "at": _text(one.at),
        "supplier": one.supplier,
        "about": one.about[:_LONGEST],
        "cause": one.cause,
        "what": one.what,
    }


def _tls(parts: Parts) -> dict[str, Any]:
    try:
        facts = tls.facts_of(parts.settings.certificate_file)
    except DcapError as error:
        return {"error": error.code}
    return {"expires": _text(facts.not_after), "sha256": facts.sha256}


def _text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def checks(
    *,
    store_answers: bool,
    has_tokens: bool,
    stopping: bool,
    all_early: bool = False,
    tokens_fault: str = "",
) -> dict[str, str]:
    """What has to be well for clients to be sent here: check -> "ok", or what is wrong."""
    none = tokens_fault or "there is no admin token: nobody could import"
    return {
        "store": "ok" if store_answers else "the database does not answer",
        "tokens": "ok" if has_tokens else none,
        "running": "ok" if not stopping else "the service stops",
        "clock": "ok"
        if not all_early
        else "all that is kept was issued in the future, and is not served: is the clock right?",
    }


def probe(found: Mapping[str, str]) -> tuple[int, bytes]:
    """The answer to a probe: 200 where all is well, else 503."""
    is_well = all(value == "ok" for value in found.values())
    body = {"status": "ok" if is_well else "unavailable", "checks": dict(found)}
    return (200 if is_well else 503), msgspec.json.encode(body)


def figures(now: Mapping[str, Any] | None) -> list[Figure]:
    """The gauges of a status; where the store does not answer, that alone."""
    up = _gauge("dcap_pccs_store_up", "Whether the database answers.", int(now is not None))
    if now is None:
        return [up]
    kept, queue = now["kept"], now["queue"]
    return [
        up,
        _gauge("dcap_pccs_items", "Pieces of collateral that are kept.", kept["items"]),
        _gauge("dcap_pccs_platforms", "Machines whose certificates are kept.", kept["platforms"]),
        _labelled(
            "dcap_pccs_registrations",
            "gauge",
            "Machines in the queue.",
            (((("state", state.lower()),), count) for state, count in queue.items()),
        ),
        _labelled(
            "dcap_pccs_item_expires_timestamp_seconds",
            "gauge",
            "When a piece of collateral expires.",
            (
                ((("item", one["key"]),), datetime.fromisoformat(one["expires"]).timestamp())
                for one in now["items"]
                if one["expires"]
            ),
        ),
        _labelled(
            "dcap_pccs_upstream_up",
            "gauge",
            "Whether an upstream is in use (1), or rests, or asked to wait (0).",
            (
                ((("upstream", one["name"]),), int(one["state"] in ("closed", "probing")))
                for one in now["upstream"]
            ),
        ),
        _labelled(
            "dcap_pccs_upstream_fetched_total",
            "counter",
            "Answers of an upstream that were proven and kept.",
            (((("upstream", one["name"]),), one["fetched"]) for one in now["upstream"]),
        ),
        _labelled(
            "dcap_pccs_upstream_failures_total",
            "counter",
            "What went wrong with an upstream, by cause.",
            (
                ((("upstream", one["name"]), ("cause", cause)), count)
                for one in now["upstream"]
                for cause, count in one["causes"].items()
            ),
        ),
        _labelled(
            "dcap_pccs_refusals_total",
            "counter",
            "Requests refused by cause, and answers served stale.",
            (((("cause", cause),), count) for cause, count in now["causes"].items()),
        ),
        _gauge("dcap_pccs_ready_answers", "Ready answers.", now["answers"]["table"]["answers"]),
        _gauge("dcap_pccs_ready_bytes", "Their size.", now["answers"]["table"]["size"]),
        *_tls_figures(now["tls"]),
    ]


def _tls_figures(facts: Mapping[str, Any]) -> list[Figure]:
    if "expires" not in facts:
        return []
    name = "dcap_pccs_tls_expires_timestamp_seconds"
    ends = datetime.fromisoformat(facts["expires"]).timestamp()
    return [_gauge(name, "When the TLS certificate expires.", ends)]


def _gauge(name: str, text: str, value: float) -> Figure:
    return Figure(name, "gauge", text, (Sample((), value),))


def _labelled(name: str, kind: str, text: str, rows: Any) -> Figure:  # noqa: ANN401 - pairs
    return Figure(name, kind, text, tuple(Sample(labels, value) for labels, value in rows))
