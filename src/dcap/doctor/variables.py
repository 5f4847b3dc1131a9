"""Variables that change how quotes are made and verified, of the shell: Azure's, Intel's, dcap's.

Not here: HOME and caches (`homes`), proxies and CAs (`surroundings`), QCNL_CONF_PATH (`configured`).

Source: `quote-provider.md` §1.5, §4.1, §5.2, §6 (row 8).
"""

import difflib
import posixpath
from collections.abc import Iterator, Mapping
from typing import Final

from dcap.doctor.finding import Finding, Mend, Remarks, Right
from dcap.doctor.scene import Scene
from dcap.errors import printable
from dcap.qpl.discovery_root import Root
from dcap.sources.azure_config import VARIABLES

_FOLDERS: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_NAMES: Final = ("libdcap_quoteprov.so.1", "libdcap_quoteprov.so")
_LEVEL: Final = "AZDCAP_DEBUG_LOG_LEVEL"
_LOG_FILE: Final = "AZDCAP_WRITE_LOGS_TO_FILE"
_LEVELS: Final = ("ERROR", "WARNING", "INFO", "FATAL", "OFF", "NONE")
_AESM: Final = "SGX_AESM_ADDR"
_AESM_SOCKET: Final = "/var/run/aesmd/aesm.socket"
_TEST_ROOT: Final = "DCAP_INSECURE_TEST_ROOT"
_OURS: Final = (
    "DCAP_SOURCE",
    "DCAP_CACHE",
    "DCAP_OFFLINE",
    "DCAP_PCS_API_KEY",
    "DCAP_PROVIDER_SOCKET",
    "DCAP_PROVIDER_TIMEOUT_MS",
    _TEST_ROOT,
)
_AZURES: Final = tuple(variable.name for variable in VARIABLES)
#: Variables whose values may be shown.
_OPEN: Final = ("DCAP_CACHE", "DCAP_OFFLINE", "DCAP_PROVIDER_TIMEOUT_MS", _TEST_ROOT)
_ALIKE: Final = 0.85
_LONGEST_TTL: Final = 86400
_SHOWN: Final = 40


def azure_plugin(root: Root) -> str:
    """Where Azure's client is installed; "" where it is not. Told by what it says, not by its name."""
    for folder in _FOLDERS:
        for name in _NAMES:
            path = posixpath.join(folder, name)
            content = root.content(path)
            if _LEVEL.encode() in content and b"DCAP_PROVIDER_SOCKET" not in content:
                return path
    return ""


def look_at_variables(scene: Scene) -> Remarks:
    """Each variable that has an effect, one that is not meant, or none."""
    environ = scene.environ
    yield from _noise(scene)
    yield from _azure_values(environ)
    yield from _misspelled(environ)
    yield from _aesm(scene)
    yield from _ours(environ)


def _noise(scene: Scene) -> Iterator[Finding]:
    plugin = azure_plugin(scene.root)
    if plugin and _LEVEL not in scene.environ:
        yield Finding(
            "surroundings-azure-noise",
            f"{_LEVEL} is not set: Azure's client complains of it on standard output",
            evidence=(f"{plugin} is Azure's",),
            mends=(
                Mend(f"`export {_LEVEL}=FATAL`; in a container `docker run -e {_LEVEL}=FATAL`"),
                Mend(f"or {_LEVEL}=ERROR, to see its errors there"),
            ),
        )


def _azure_values(environ: Mapping[str, str]) -> Remarks:
    """Azure's variables that are set: what each does, or that it does nothing."""
    for variable in VARIABLES:
        value = environ.get(variable.name, "")
        if not value:
            continue
        if why := _refused(variable.name, value):
            yield _without_effect(variable.name, why, f"it is: {variable.effect}")
        elif variable.name == _LOG_FILE:
            yield Finding(
                "surroundings-azure-log",
                f"{_LOG_FILE} is TRUE: Azure's client appends all it does to /tmp/dcapLog.txt, and ends "
                "the whole program where it cannot",
                evidence=(f"{_LOG_FILE}=TRUE",),
                mends=(Mend(f"`unset {_LOG_FILE}`"),),
            )
        else:
            yield Right(f"{variable.name} is set", evidence=(f"Azure's client: {variable.effect}",))


def _refused(name: str, value: str) -> str:
    """Why Azure's client does not do what a value says; empty where it does."""
    shown = printable(value[:_SHOWN])
    if name == _LEVEL and value.removeprefix("SGX_QL_LOG_") not in _LEVELS:
        return f"{shown} is none of its levels (ERROR, WARNING, INFO): it says nothing at all"
    if name == "AZDCAP_COLLATERAL_VERSION" and value not in ("v2", "v3", "v4"):
        return f"{shown} is no version: v4 is taken"
    if name == "AZDCAP_COLLATERAL_VERSION_TDX" and value != "v4":
        return "TDX collateral is always asked for as v4"
    if name == "AZDCAP_CACHE_EXPIRY_IN_SECONDS":
        whole = value.isdecimal() and 1 <= int(value[:_SHOWN]) <= _LONGEST_TTL
        return "" if whole else f"{shown} is not within 1 and 86400: the server's own time holds"
    if name == _LOG_FILE and value != "TRUE":
        return f"only TRUE switches it on, not {shown}"
    return ""


def _without_effect(name: str, why: str, effect: str) -> Finding:
    return Finding(
        "surroundings-variable",
        f"{name} does not do what it seems to: {why}",
        evidence=(f"{name} is set", effect),
        mends=(Mend(f"correct it, or `unset {name}`"),),
    )


def _misspelled(environ: Mapping[str, str]) -> Iterator[Finding]:
    known = {*_AZURES, *_OURS, "QCNL_CONF_PATH", _AESM}
    for name in sorted(environ):
        if name in known or not name.startswith(("AZDCAP_", "DCAP_", "QCNL_", "SGX_AESM")):
            continue
        close = difflib.get_close_matches(name[:_SHOWN], known, n=1, cutoff=_ALIKE)
        if close:
            yield _without_effect(
                printable(name[:_SHOWN]), "nobody reads that name", f"it is close to {close[0]}"
            )


def _aesm(scene: Scene) -> Remarks:
    """Where the socket is not there, `daemons` says why, and in a container `container`."""
    if _AESM not in scene.environ or not scene.wants("attester"):
        return
    if scene.root.look(_AESM_SOCKET).is_there:
        yield Right(f"{_AESM} is set, and AESM's socket is there: quotes are made by aesmd")


def _ours(environ: Mapping[str, str]) -> Remarks:
    if environ.get(_TEST_ROOT):
        yield Finding(
            "surroundings-test-root",
            f"{_TEST_ROOT} is set: dcap trusts a root of the simulator's instead of Intel's",
            evidence=(f"{_TEST_ROOT}={environ[_TEST_ROOT]}",),
            mends=(Mend(f"`unset {_TEST_ROOT}`, wherever real machines are judged"),),
        )
    for name in _OURS:
        if environ.get(name) and name != _TEST_ROOT:
            shown = printable(environ[name]) if name in _OPEN else "(its value is not shown)"
            yield Right(f"{name} is set", evidence=(f"{name}: {shown}",))
