"""AESM and QGS: sockets, units, packages of two generations mixed, what they answer.

A machine that quotes in-process has neither, and needs none. What runs in a container is looked at there
(`container`): here, on the host, a socket that answers is enough. Not here: a daemon's HOME, caches and
proxies (`surroundings`), its configuration (`configuration`).

Source: `quote-provider.md` §5.3, §5.4, §5.6, §6 rows 11, 19 and 20.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from dcap.attester.aesm_errors import OTHER, REFUSALS
from dcap.attester.container import container_of
from dcap.doctor.aesm_answer import AesmAnswer, Outcome, ask_aesm
from dcap.doctor.daemon_facts import DaemonFacts, daemon_facts, rights
from dcap.doctor.daemons_ailments import AILMENTS
from dcap.doctor.enclave_programs import enclave_programs, start_of
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Remarks, Right, Skipped
from dcap.doctor.installed import install_command, installed
from dcap.doctor.machine import can_attest
from dcap.doctor.platform_packages import differing, missing_for_ecdsa, mixed
from dcap.doctor.qgs import look_at_qgs
from dcap.doctor.scene import Scene
from dcap.formats.aesm import error_of

SOCKET: Final = "/var/run/aesmd/aesm.socket"
_ADDRESS: Final = "SGX_AESM_ADDR"
_SERVICE_PACKAGE: Final = "sgx-aesm-service"
_PLUGINS: Final = ("libsgx-aesm-ecdsa-plugin", "libsgx-aesm-quote-ex-plugin", "libsgx-ae-qe3")
_RESTART: Final = Mend(
    "restart it: `sudo systemctl restart aesmd`", ("sudo", "systemctl", "restart", "aesmd")
)
_LOG: Final = Mend("read its log: `sudo journalctl -u aesmd -n 50`")
_UNSUPPORTED_KEY: Final = 38


def _aesm(scene: Scene) -> Remarks:
    aesmd = daemon_facts(scene, "aesmd")
    path = _socket(scene)
    if why := _why_skipped(scene, aesmd, path):
        yield Skipped("AESM", why)
    elif not aesmd.is_installed and not scene.root.look(path).is_there:
        yield Finding(
            "aesmd-not-installed",
            f"{_ADDRESS} is set, so that programs ask AESM for quotes, but AESM is not installed",
            (f"{_ADDRESS}={scene.environ[_ADDRESS]}", f"{path}: not there"),
            (
                Mend(f"install it: `{install_command(scene.root, (_SERVICE_PACKAGE, *_PLUGINS))}`"),
                Mend(f"or have quotes made in-process: `unset {_ADDRESS}`"),
            ),
        )
    else:
        answer = ask_aesm(scene.root.host(scene.root.look(path).real), scene.timeout)
        yield from _OUTCOMES[answer.outcome](_Asked(scene, aesmd, path, answer))
        if answer.outcome not in ("absent", "refused"):
            yield from _unit(aesmd)
        if inside := container_of(scene.root, scene.environ):
            yield Skipped("AESM's unit and rights", f"this is a container ({inside.kind})")
        else:
            yield from rights(scene, aesmd, "AESM", "aesmd-no-device", _LOG)


def _why_skipped(scene: Scene, aesmd: DaemonFacts, path: str) -> str:
    there = scene.root.look(path).is_there
    if (inside := container_of(scene.root, scene.environ)) and not there:
        return f"this is a container ({inside.kind}): the check `container` looks at what arrived"
    if not can_attest(scene) and not there:
        return "this machine cannot attest"
    if not aesmd.is_installed and not there and _ADDRESS not in scene.environ:
        return "not installed: quotes are made in-process, which needs no AESM"
    return ""


def _socket(scene: Scene) -> str:
    named = scene.environ.get(_ADDRESS, "")
    return named if named.startswith("/") else SOCKET


# ── what its socket says ────────────────────────────────────────────────────────────────────────


class _Asked(msgspec.Struct, frozen=True):
    """AESM was asked at a path, and what came of it."""

    scene: Scene
    aesmd: DaemonFacts
    path: str
    answer: AesmAnswer


def _answered(asked: _Asked) -> Remarks:
    packages = installed(asked.scene.root)
    missing = missing_for_ecdsa(packages) if packages and _SERVICE_PACKAGE in packages else []
    lacks_ecdsa = not asked.answer.knows_ecdsa or asked.answer.error == _UNSUPPORTED_KEY
    if lacks_ecdsa or (not asked.answer.error and not asked.answer.keys):
        yield _no_ecdsa(asked, missing)
    elif asked.answer.error:
        error = error_of(asked.answer.error)
        yield Finding(
            "aesmd-error",
            f"AESM answers with error {asked.answer.error} ({error.name}): {error.meaning}",
            (
                f"{asked.path}: getSupportedAttKeyIDNum -> {asked.answer.error}",
                *asked.aesmd.evidence,
            ),
            (Mend(REFUSALS.get(asked.answer.error, OTHER).mend), _LOG),
        )
    else:
        yield Right(
            f"AESM answers: {asked.answer.keys} kind(s) of attestation key",
            (f"{asked.path}: answers",),
        )
        if missing:
            yield _missing(missing)


def _no_ecdsa(asked: _Asked, missing: list[str]) -> Finding:
    answer = asked.answer
    said = f"error {answer.error}" if answer.error else f"{answer.keys} kinds of attestation key"
    told = said if answer.knows_ecdsa else "the call is unknown to it"
    install = install_command(asked.scene.root, missing or _PLUGINS)
    return Finding(
        "aesmd-no-ecdsa",
        "AESM runs, but cannot quote with ECDSA: every quote ends in error 38",
        (f"getSupportedAttKeyIDNum: {told}", *(f"not installed: {name}" for name in missing)),
        (Mend(f"`{install} && sudo systemctl restart aesmd`"), _RESTART, _LOG),
    )


def _missing(missing: list[str]) -> Finding:
    return Finding(
        "aesmd-packages-missing",
        f"AESM's part for ECDSA is not whole, {', '.join(missing)} missing: quotes end in error 38",
        tuple(f"not installed: {name}" for name in missing),
        (Mend(f"`sudo apt install {' '.join(missing)} && sudo systemctl restart aesmd`"),),
    )


def _absent(asked: _Asked) -> Remarks:
    if not asked.aesmd.is_running:
        yield _not_running(asked.aesmd, f"{asked.path}: not there")
        return
    yield Finding(
        "aesmd-socket-absent",
        f"AESM runs, but its socket {asked.path} is not there: nobody can ask it",
        (f"{asked.path}: not there", *asked.aesmd.evidence),
        (
            _RESTART,
            Mend(
                "then: `ls -l /var/run/aesmd`; if it stays empty, its log: `sudo journalctl -u aesmd`"
            ),
        ),
    )


def _refused(asked: _Asked) -> Remarks:
    if asked.aesmd.unit is not None and not asked.aesmd.is_running:
        seen = f"{asked.path}: there, but nobody listens ({asked.answer.said})"
        yield _not_running(asked.aesmd, seen)
        return
    yield Finding(
        "aesmd-socket-stale",
        f"nobody listens at AESM's socket {asked.path}: it was left behind, or mounted before a restart",
        (f"{asked.path}: {asked.answer.said}", *asked.aesmd.evidence),
        (
            _RESTART,
            Mend(
                "containers: mount the folder /var/run/aesmd, not the socket, and start them anew"
            ),
        ),
    )


def _not_running(aesmd: DaemonFacts, seen: str) -> Finding:
    return Finding(
        "aesmd-not-running",
        "AESM is installed, but does not run",
        (seen, *aesmd.evidence),
        (Mend(f"start it, now and at each start of the machine: {aesmd.start}"), _LOG),
    )


def _denied(asked: _Asked) -> Remarks:
    yield Finding(
        "aesmd-denied",
        f"AESM's socket {asked.path} may not be opened by who runs the doctor",
        (f"{asked.path}: {asked.answer.said}", *asked.aesmd.evidence),
        (
            Mend(
                "folder and socket have to let everybody in: "
                "`sudo chmod 755 /var/run/aesmd && sudo chmod 666 /var/run/aesmd/aesm.socket`"
            ),
            _RESTART,
        ),
    )


def _silent(asked: _Asked) -> Remarks:
    yield Finding(
        "aesmd-silent",
        f"AESM takes the connection, but does not answer within {asked.scene.timeout:g} s",
        (f"{asked.path}: {asked.answer.said}", *asked.aesmd.evidence),
        (
            Mend(
                "see whether its provider waits for its PCCS, for it has no limit of time: "
                "`sudo journalctl -u aesmd -n 50`, `dcap provider test`"
            ),
            _RESTART,
        ),
    )


def _broken(asked: _Asked) -> Remarks:
    yield Finding(
        "aesmd-broken-answer",
        f"what answers at {asked.path} does not speak as AESM does: {asked.answer.said}",
        (f"{asked.path}: {asked.answer.said}", *asked.aesmd.evidence),
        (Mend("see who listens there: `sudo ss -xlp | grep aesm`"), _LOG, _RESTART),
    )


_OUTCOMES: Final[dict[Outcome, Callable[[_Asked], Remarks]]] = {
    "answered": _answered,
    "absent": _absent,
    "refused": _refused,
    "denied": _denied,
    "silent": _silent,
    "broken": _broken,
}


# ── the daemon itself ───────────────────────────────────────────────────────────────────────────


def _unit(aesmd: DaemonFacts) -> Remarks:
    if aesmd.unit is None or aesmd.is_enabled:
        return
    yield Finding(
        "aesmd-not-enabled",
        "AESM runs, but is not enabled: after the next start of the machine it will not be there",
        aesmd.evidence,
        (
            Mend(
                "enable it: `sudo systemctl enable aesmd`", ("sudo", "systemctl", "enable", "aesmd")
            ),
        ),
    )


def _restarted(scene: Scene) -> Remarks:
    """A daemon that is younger than a program which asks it has forgotten the program's key."""
    what = "AESM restarted under a running program"
    aesmd = daemon_facts(scene, "aesmd")
    pid = aesmd.service.pid if aesmd.service is not None else None
    if pid is None:
        yield Skipped(what, "AESM does not run here")
        return
    began = start_of(scene.root, pid)
    programs = [each for each in enclave_programs(scene.root) if each.pid != pid]
    older = [each for each in programs if 0 < each.started < began]
    if not older:
        yield Right(f"AESM has run longer than the programs with an enclave ({len(programs)} seen)")
        return
    named = ", ".join(f"{each.command} ({each.pid})" for each in older)
    yield Finding(
        "aesmd-restarted",
        f"AESM was started after {named}: their next quote gets error 42, unless they begin anew",
        (
            f"aesmd: process {pid}",
            *(f"older, with an enclave: process {each.pid}" for each in older),
        ),
        (
            Mend(
                f"restart {named}; Gramine from 1.8 on (pull request 1881) initialises anew by "
                "itself, and so does `dcap attest`"
            ),
        ),
    )


# ── packages ────────────────────────────────────────────────────────────────────────────────────


def _packages(scene: Scene) -> Remarks:
    packages = installed(scene.root)
    if packages is None:
        why = "there is no dpkg here; with rpm compare by hand: `rpm -qa | grep -i sgx | sort`"
        yield Skipped("packages of SGX", why)
        return
    if not any("sgx" in name or name.startswith("tdx-") for name in packages):
        yield Skipped("packages of SGX", "none is installed")
        return
    yield _generations(packages)
    trains = list(differing(packages))
    if not trains:
        yield Right("the packages of SGX are of one release each")
    for releases in trains:
        names = " ".join(sorted(name for each in releases.values() for name in each))
        said = " and ".join(releases)
        yield Finding(
            "aesmd-releases-differ",
            f"packages that belong together are of several releases: {said}",
            tuple(f"{release}: {', '.join(each)}" for release, each in releases.items()),
            (
                Mend(
                    f"bring all to one release: `sudo apt update && sudo apt install {names}`, "
                    "then restart AESM, QGS and what has an enclave"
                ),
            ),
        )


def _generations(packages: dict[str, str]) -> Remark:
    epid = mixed(packages)
    if not epid:
        return Right("no package of the EPID time stands beside those of DCAP")
    return Finding(
        "aesmd-epid-mixed",
        f"packages of EPID stand beside those of DCAP: {', '.join(epid)}",
        tuple(f"{name} {packages[name]}" for name in epid),
        (Mend(f"remove them: `sudo apt remove {' '.join(epid)} && sudo systemctl restart aesmd`"),),
    )


def _qgs(scene: Scene) -> Remarks:
    yield from look_at_qgs(scene)


__all__ = ["AILMENTS", "CHECKS"]

CHECKS: Final[tuple[Check, ...]] = (
    Check("AESM", _aesm, ("attester",)),
    Check("AESM's age", _restarted, ("attester",)),
    Check("SGX packages", _packages, ("attester",)),
    Check("QGS", _qgs, ("attester",)),
)
