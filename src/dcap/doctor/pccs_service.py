"""A PCCS that runs on this machine: whether it answers, and what it says of itself.

It is asked as machines ask it (the root's list), and dcap's own also by its probe and its status, as
`dcap pccs check` does. Its certificate is not checked: it is asked on loopback, for nothing secret. Not
here: which there are (`pccs_places`), and what its clients see from elsewhere (`network`).

Source: `pccs-and-pcs-api.md` §1, §2.3, §3.1; `quote-provider.md` §6 (rows 1, 2, 5, 12, 17, 18).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.pccs_ailments import AILMENTS
from dcap.doctor.pccs_places import Place, places
from dcap.doctor.scene import Scene
from dcap.errors import DcapError, printable
from dcap.pccs.causes import CAUSES
from dcap.transport import Limits, Network

__all__ = ["AILMENTS", "CHECKS"]

ROOT_LIST: Final = "/sgx/certification/v4/rootcacrl"
_SOON, _TLS_SOON = timedelta(days=3), timedelta(days=14)
_MOST_LINES: Final = 6
_BEGINNING: Final = 80


def look(scene: Scene) -> Iterator[Remark]:
    """Each PCCS: its configuration, then what it answers."""
    found = places(scene)
    if not found:
        yield Finding(
            "pccs-here-none",
            "no PCCS is installed on this machine",
            evidence=(
                "neither a folder of `dcap pccs serve` nor /opt/intel/sgx-dcap-pccs is there",
            ),
            mends=(
                Mend(
                    "`dcap pccs serve` is one (pip install 'dcap[server]'); then `dcap pccs check`"
                ),
            ),
        )
    for place in found:
        yield Right(f"{_whose(place)} PCCS is installed here: {place.sign}")
        if place.kind == "intel":
            yield from _intels_settings(place)
        elif place.unreadable:
            yield _unreadable(place)
    for host, port in dict.fromkeys((place.host, place.port) for place in found):
        of_port = [place for place in found if (place.host, place.port) == (host, port)]
        if scene.offline:
            yield Skipped(f"PCCS at {host}:{port}", "no network is used (--offline)")
        elif any(place.wants_certificate for place in of_port):
            yield Skipped(f"PCCS at {host}:{port}", "it answers only who has a client certificate")
        else:
            yield from _service(scene, f"https://{host}:{port}", of_port)


CHECKS: Final[tuple[Check, ...]] = (Check("PCCS of this machine", look, ("pccs",)),)


def _whose(place: Place) -> str:
    return "dcap's" if place.kind == "dcap" else "Intel's"


# ── configuration ───────────────────────────────────────────────────────────────────────────────


def _unreadable(place: Place) -> Finding:
    ours = place.kind == "dcap"
    form, check = ("TOML", "config") if ours else ("JSON", f"config --from-intel {place.file}")
    return Finding(
        "pccs-here-configuration",
        f"{place.unreadable} cannot be read as {form}: the service does not start so",
        evidence=(f"{place.unreadable}: not understood",),
        mends=(Mend(f"`dcap pccs {check}` says where it breaks"),),
    )


def _intels_settings(place: Place) -> Iterator[Remark]:
    if place.unreadable:
        yield _unreadable(place)
        return
    if not place.file:
        return
    if not place.has_key and place.mode != "offline":
        yield Finding(
            "pccs-here-no-key",
            f"{place.file} has no ApiKey, and mode {place.mode.upper()} asks Intel for certificates: "
            "clients see 0xE044 or 0xE011",
            evidence=(f"{place.file}: ApiKey is empty or missing",),
            mends=(
                Mend(
                    "subscribe at https://api.portal.trustedservices.intel.com, put the key into "
                    f"{place.file}, then `sudo systemctl restart pccs`"
                ),
            ),
        )
    if "/v3/" in place.upstream:
        yield Finding(
            "pccs-here-v3",
            "the PCCS asks version 3 of Intel's service, which ended on 2026-04-30",
            evidence=(f"{place.file}: uri is of version 3",),
            mends=(
                Mend(
                    '`"uri": "https://api.trustedservices.intel.com/sgx/certification/v4/"` in '
                    f"{place.file}, then `sudo systemctl restart pccs`"
                ),
            ),
        )


# ── what it answers ─────────────────────────────────────────────────────────────────────────────


def _service(scene: Scene, url: str, of_port: list[Place]) -> Iterator[Remark]:
    limits = Limits(connect=scene.timeout, read=scene.timeout, total=2 * scene.timeout, attempts=1)
    with Network(verify=False, limits=limits, environ={}) as network:
        try:
            ask = network.handler(url)
            answer = ask(HttpRequest(target=ROOT_LIST))
        except DcapError as error:
            yield _silent(url, error, of_port)
            return
        if answer.status == 200:
            yield Right(f"{url}{ROOT_LIST} answers 200, {len(answer.body)} bytes")
        else:
            yield _refuses(url, answer, of_port)
        if any(place.kind == "dcap" for place in of_port):
            yield from _condition(scene, url, ask)


def _silent(url: str, error: DcapError, of_port: list[Place]) -> Finding:
    unit = next((place.unit for place in of_port if place.unit), "")
    running = any(place.running for place in of_port)
    if unit:
        act = "restart" if running else "start"
        start = f"`sudo systemctl {act} {unit}`, then `journalctl -u {unit} -n 50`"
    elif any(place.kind == "dcap" for place in of_port):
        start = "`dcap pccs serve`"
    else:
        start = "`sudo systemctl start pccs`, then `journalctl -u pccs -n 50`"
    where = "its process runs, but" if running else "no process of it is seen:"
    look = Mend(f"`curl -kv {url}{ROOT_LIST}` shows each step")
    mends = (
        (look, Mend(f"then end it, and start it anew: {start}")) if running else (Mend(start), look)
    )
    return Finding(
        "pccs-here-silent",
        f"the PCCS of this machine does not answer at {url}: {where} {error.what}",
        evidence=(f"{url}{ROOT_LIST}: {error.what} [{error.code}]",),
        mends=mends,
    )


def _refuses(url: str, answer: HttpResponse, of_port: list[Place]) -> Finding:
    cause = answer.header("Dcap-Cause") or ""
    said = CAUSES[cause].what if cause in CAUSES else ""
    evidence = [f"GET {url}{ROOT_LIST}: HTTP {answer.status}"]
    if cause:
        evidence.append(f"Dcap-Cause: {cause}")
    elif answer.body:
        beginning = answer.body[:_BEGINNING].decode("utf-8", "replace")
        evidence.append(f"it says: {printable(beginning)}")
    mends = [Mend(CAUSES[cause].mend)] if cause in CAUSES else []
    if any(place.kind == "dcap" for place in of_port):
        mends.append(Mend("`dcap pccs status` shows what is kept, and how its upstream does"))
    else:
        mends.append(Mend("`journalctl -u pccs -n 50`; /opt/intel/sgx-dcap-pccs/logs has more"))
    return Finding(
        "pccs-here-refuses",
        f"the PCCS of this machine does not serve the root's list: HTTP {answer.status}"
        f"{f': {said}' if said else ''}",
        evidence=tuple(evidence),
        mends=tuple(mends),
    )


def _condition(scene: Scene, url: str, ask: Handler) -> Iterator[Remark]:
    """What a service of dcap's says of itself."""
    try:
        ready, told = (ask(HttpRequest(target=name)) for name in ("/healthz/ready", "/status.json"))
        checks = _object(ready).get("checks", {})
        now = _object(told) if told.status == 200 else {}
    except (DcapError, msgspec.DecodeError):
        ready, checks, now = None, {}, {}
    if not now:
        why = "it is not dcap's, or its /status.json is closed"
        yield Skipped(f"what the PCCS at {url} says of itself", why)
        return
    if ready is not None and ready.status != 200 and isinstance(checks, Mapping):
        wrong = [f"{name}: {what}" for name, what in checks.items() if what != "ok"]
        yield Finding(
            "pccs-here-not-ready",
            f"the PCCS of this machine is not ready: {'; '.join(map(str, wrong))}",
            evidence=(f"GET {url}/healthz/ready: HTTP {ready.status}",),
            mends=(Mend("`dcap pccs check`, then its log: `journalctl -u dcap-pccs -n 50`"),),
        )
    yield from _kept(scene, now)


def _object(answer: HttpResponse) -> dict[str, Any]:
    return msgspec.json.decode(answer.body, type=dict[str, Any])


def _kept(scene: Scene, now: Mapping[str, Any]) -> Iterator[Remark]:
    """Ends of what is kept, of the certificate, and how its upstream does."""
    mode = str(now.get("mode", "")).lower()
    items = [one for one in now.get("items", ()) if isinstance(one.get("days_left"), (int, float))]
    ending = [one for one in items if one["days_left"] < _SOON.days]
    failing = [one for one in now.get("upstream", ()) if one.get("failing")]
    if mode == "offline":
        failing = []
    if ending:
        gone = sum(one["days_left"] <= 0 for one in ending)
        yield Finding(
            "pccs-here-expiring",
            f"{len(ending)} pieces of collateral end within {_SOON.days} days; {gone} have ended",
            evidence=_few(f"{one['key']}: {one['days_left']:.1f} days left" for one in ending),
            mends=(
                Mend("bring new collateral in: `dcap pccs put`")
                if mode == "offline"
                else Mend("`dcap pccs refresh`; `dcap pccs status` says how its upstream does"),
            ),
        )
    elif items:
        first = min(one["days_left"] for one in items)
        yield Right(
            f"{len(items)} pieces of collateral are kept; the first ends in {first:.1f} days"
        )
    if mode != "lazy" and not now.get("kept", {}).get("items"):
        yield Finding(
            "pccs-here-empty",
            f"the PCCS keeps nothing, and mode {mode} fetches nothing by itself: HTTP 404, 461",
            evidence=("status.json: kept.items is 0",),
            mends=(
                Mend("`dcap pccs put FILE` of what `dcap pccs fetch` brought")
                if mode == "offline"
                else Mend("register a machine: `dcap register submit` on it"),
            ),
        )
    if failing:
        causes = {one["failing"] for one in failing}
        yield Finding(
            "pccs-here-upstream",
            f"its upstream fails: {'; '.join(_cause(cause) for cause in sorted(causes))}",
            evidence=_few(f"{one['name']}: {one['failing']}" for one in failing),
            mends=tuple(Mend(CAUSES[cause].mend) for cause in sorted(causes) if cause in CAUSES)
            or (Mend("`dcap pccs status`"),),
        )
    ends = now.get("tls", {}).get("expires")
    if ends and datetime.fromisoformat(ends) - scene.clock() < _TLS_SOON:
        yield Finding(
            "pccs-here-certificate",
            f"the TLS certificate of the PCCS ends {ends}",
            evidence=(f"tls.expires: {ends}",),
            mends=(
                Mend("put a new pair in its place: it is read by `systemctl reload dcap-pccs`"),
            ),
        )


def _cause(cause: str) -> str:
    return CAUSES[cause].what if cause in CAUSES else cause


def _few(lines: Iterator[str]) -> tuple[str, ...]:
    listed = list(lines)
    more = len(listed) - _MOST_LINES
    return (*listed[:_MOST_LINES], f"and {more} more") if more > 0 else tuple(listed)
