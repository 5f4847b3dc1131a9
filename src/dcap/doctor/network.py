"""Each address that is asked, step by step: name, TCP, TLS and its certificate, HTTP.

What the walks have seen (`visits`), judged: what is wrong, which cause of this machine explains it, and
what mends it here. Not here: what the answers say (`requests`), the file (`configuration`).

Source: `quote-provider.md` §1.3, §1.5, §2.4-2.6, §6 rows 2, 3, 5, 15.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from dcap.doctor import probe
from dcap.doctor.addresses import LOCAL, Asked
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.network_ailments import AILMENTS
from dcap.doctor.network_mends import MENDS, against_the_default, past_the_proxy, restart
from dcap.doctor.probe import Step, Visit
from dcap.doctor.scene import Scene
from dcap.doctor.visits import Seen, visits_of
from dcap.errors import printable

__all__ = ["AILMENTS", "CHECKS"]

#: Fault of a step -> code, and what Intel's library reports (0xE…, and 0xB… in its log).
_FAULTS: Final = {
    probe.UNKNOWN_NAME: ("server-name", "0xE019 (0xB005)"),
    probe.REFUSED: ("server-refuses", "0xE019 (0xB006)"),
    probe.UNREACHABLE: ("server-unreachable", "0xE019 (0xB009)"),
    probe.SILENT: ("server-silent", ""),
    probe.PROXY_FAILS: ("proxy-fails", "0xE019"),
    probe.NOT_TLS: ("server-not-tls", "0xE019 (0xB00A)"),
    probe.IS_TLS: ("server-is-tls", "0xE019 (0xB003)"),
    probe.TLS_FAILS: ("server-tls", "0xE019 (0xB00A)"),
    probe.NOT_HTTP: ("server-not-http", "0xE019 (0xB003)"),
    probe.SELF_SIGNED: ("server-untrusted", "0xE065 (0xB033)"),
    probe.UNKNOWN_ISSUER: ("server-untrusted", "0xE065 (0xB033)"),
    probe.OTHER_NAME: ("server-other-name", "0xE065 (0xB033)"),
    probe.EXPIRED: ("server-certificate-dates", "0xE065 (0xB033)"),
    probe.NOT_YET: ("server-certificate-dates", "0xE065 (0xB033)"),
    probe.CERTIFICATE: ("server-tls", "0xE065 (0xB033)"),
}
_CERTIFICATES: Final = frozenset(
    fault for fault, (_, reported) in _FAULTS.items() if reported.startswith("0xE065")
)
_UNREACHED: Final = frozenset({probe.UNKNOWN_NAME, probe.REFUSED, probe.UNREACHABLE})
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE")


def _look(scene: Scene) -> Iterator[Remark]:
    if scene.offline:
        yield Skipped("the way to the services", "nothing is to be asked over the network")
        return
    seen = visits_of(scene)
    yield from _of_proxies(seen)
    if not seen.visits and not seen.problems:
        yield Skipped("the way to the services", "no service is asked in these roles")
    judged: set[tuple[int, bool]] = set()
    for asked, visit in seen.visits:
        if visit is None:
            what = f"{asked.place} cannot be asked ({asked.shown}): {asked.problem}"
            url = "https://HOST:8081/sgx/certification/v4/"
            mends = (Mend(f"write an address such as {url} there"), *restart(asked))
            yield Finding("server-address", printable(what), mends=mends)
        elif (id(visit), asked.needed) not in judged:
            judged.add((id(visit), asked.needed))
            yield _judged(scene, asked, visit)


CHECKS: Final = (Check("network", _look, ("attester", "verifier")),)


def _of_proxies(seen: Seen) -> Iterator[Remark]:
    """Proxies that cannot be gone by; one by SOCKS is libcurl's affair, and no fault of anybody's."""
    told: set[str] = set()
    for road, error in seen.problems:
        values = (value for name, value in road.environ.items() if name.lower().endswith("_proxy"))
        if road.by_intels and any(value.strip().lower().startswith("socks") for value in values):
            yield Skipped(f"the way of {road.who}", "a SOCKS proxy leads there: dcap goes by none")
        elif str(error) not in told:
            told.add(str(error))
            mends = (Mend(error.mend),)
            yield Finding("proxy-setting", f"{error.where}: {error.what}", mends=mends)


def _judged(scene: Scene, asked: Asked, visit: Visit) -> Remark:
    """What one walk comes to."""
    fault = fault_of(asked, visit)
    if fault is None:
        return _answered(asked, visit)
    if not asked.needed:
        return _local(asked, visit, fault)
    code, reported = _FAULTS[fault.fault]
    through = visit.proxy is not None
    if through and fault.fault in _UNREACHED:
        code, reported = "proxy-fails", "0xE019"
    what = f"{_said(code, asked, visit, fault)}{_why(asked)}"
    evidence = _evidence(asked, visit, reported)
    return Finding(
        code,
        what,
        evidence,
        (*against_the_default(scene, asked), *MENDS[code](scene, asked, visit)),
    )


def fault_of(asked: Asked, visit: Visit) -> Step | None:
    """The step that stops whoever asks: a certificate stops only who looks at it."""
    faults = (step for step in visit.steps if step.fault)
    return next((step for step in faults if asked.secure or step.fault not in _CERTIFICATES), None)


def is_answered(asked: Asked, visit: Visit) -> bool:
    """Whether something that may be the service answers whoever asks so."""
    return fault_of(asked, visit) is None and isinstance(_answered(asked, visit), Right)


def _said(code: str, asked: Asked, visit: Visit, fault: Step) -> str:
    """What is wrong, with the facts."""
    address = visit.address
    ends = f"{address.host}:{address.port}"
    shown = visit.certificate
    until = f", until {shown.not_after:%Y-%m-%d}" if shown else ""
    since = f", from {shown.not_before:%Y-%m-%d} on" if shown else ""
    names = ", ".join(shown.names[:5]) if shown and shown.names else "no name (SAN) at all"
    by = "itself" if shown and shown.self_signed else shown.issuer if shown else "an unknown issuer"
    texts = {
        "server-name": f"the name {address.host} leads nowhere",
        "server-refuses": f"nothing listens at {ends}",
        "server-unreachable": f"{ends} cannot be reached: {fault.what}",
        "server-silent": f"{ends} takes the connection and says nothing",
        "server-not-tls": f"{ends} does not speak TLS, and the address begins with https://",
        "server-is-tls": f"{ends} speaks TLS, and the address begins with http://",
        "server-tls": f"TLS with {ends} fails: {fault.what}",
        "server-not-http": f"what listens at {ends} does not speak HTTP: {fault.what}",
        "server-untrusted": f"the certificate of {ends} is signed by {by}, which nobody trusts here",
        "server-other-name": f"the certificate of {ends} is for {names}, not for {address.host}",
        "server-certificate-dates": (
            f"the certificate of {ends} is not valid yet{since}"
            if fault.fault == probe.NOT_YET
            else f"the certificate of {ends} was valid{until}, and no longer"
        ),
        "proxy-fails": f"the proxy {visit.proxy} does not lead to {ends}: {fault.what}",
    }
    return f"{texts[code]} ({asked.place})"


def _why(asked: Asked) -> str:
    """Why this address is asked, where nobody wrote it."""
    return f"; it is asked because of {asked.road.why}" if asked.road.why else ""


def _evidence(asked: Asked, visit: Visit, reported: str) -> tuple[str, ...]:
    lines = [f"{asked.shown}, asked by {asked.road.who}", *visit.evidence]
    if visit.certificate is not None:
        lines += visit.certificate.evidence
        if not visit.certificate.fits and asked.secure:
            lines.append(f"none of its names is {visit.address.host}")
    if reported and asked.road.by_intels:
        lines.append(f"Intel's library reports {reported}")
    if asked.road.by_intels and any(asked.road.environ.get(name) for name in _CA_VARIABLES):
        lines.append(f"{', '.join(_CA_VARIABLES)} do not count for Intel's library")
    if visit.proxy is not None:
        names = [name for name in asked.road.environ if name.lower().endswith("_proxy")]
        lines.append(f"through the proxy {visit.proxy}, by {', '.join(sorted(names))}")
    return tuple(map(printable, lines))


def _answered(asked: Asked, visit: Visit) -> Remark:
    """An HTTP answer: a redirect, a page, a proxy's refusal, or what there should be."""
    status = visit.status
    ends = f"{visit.address.host}:{visit.address.port}"
    if status is not None and 300 <= status < 400 and status != 304:
        where = _host(visit.header("Location") or "")
        what = f"{ends} answers {status} and sends on to {where} ({asked.place}){_why(asked)}"
        mends = (
            Mend(f"write the address of who answers itself into {asked.place}"),
            *restart(asked),
        )
        evidence = _evidence(asked, visit, "0xE044 (0xB011)")
        return Finding("server-redirects", what, evidence, mends)
    if status == 407:
        what = f"the proxy {visit.proxy or 'in between'} wants a password ({asked.place})"
        evidence = _evidence(asked, visit, "0xE044 (0xB011)")
        return Finding("proxy-fails", what, evidence, past_the_proxy(asked, visit))
    beginning = visit.beginning.lstrip()[:64].lower()
    if status == 200 and beginning.startswith((b"<!doctype", b"<html")):
        what = f"{ends} answers with a web page ({asked.place}){_why(asked)}"
        sight = (
            Mend(f"look at it: `curl -kv {asked.shown}`; sign in, or have the network let pass"),
        )
        evidence = _evidence(asked, visit, "0xE01A")
        return Finding("server-is-portal", what, evidence, sight)
    checked = "" if asked.secure or not visit.certificate else ", its certificate not looked at"
    what = f"{ends} answers, as {asked.road.who} asks it ({asked.place}){checked}{_why(asked)}"
    return Right(what, _evidence(asked, visit, ""))


def _local(asked: Asked, visit: Visit, fault: Step) -> Finding:
    ends = f"{visit.address.host}:{visit.address.port}"
    what = f"{asked.place} names {ends}, which does not answer: {fault.what}"
    mends = (
        Mend(f"take {LOCAL} out of {asked.road.name}, unless this is a machine of that cloud"),
    )
    return Finding("local-pck-away", what, visit.evidence, mends)


def _host(location: str) -> str:
    """The host of where a redirect leads: the rest may repeat what was asked."""
    try:
        parts = urlsplit(location)
        found = parts.hostname
    except ValueError:
        found = None
    if found is None:
        return "another path of itself" if location.startswith("/") else "nowhere"
    return printable(f"{parts.scheme}://{found}"[:200])
