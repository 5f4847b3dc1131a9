"""The doctor on environments: rows 2, 3, 8, 13 and 14 of §6, of the shell and each daemon's account."""

import os
import re
from pathlib import Path

import pytest

from dcap.doctor import surroundings
from doctor.scratch import (
    APP,
    BOOTED,
    Seen,
    add_aesm,
    add_qgs,
    laptop,
    process,
    say,
    scene,
    sgx_host,
    unit,
    write,
)

HOME = "/var/opt/aesmd"
AESMD = APP.uid + 1
PLUGIN = "/usr/lib/x86_64-linux-gnu/libsgx_default_qcnl_wrapper.so.1"
AZURE = "/usr/lib/libdcap_quoteprov.so"
CONF = "/etc/sgx_default_qcnl.conf"
FAR = '{"pccs_url": "https://pccs.example:8081/sgx/certification/v4/", "pccs_api_version": "3.1"}'
CHECKS = surroundings.CHECKS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with AESM running, Intel's library, and a configuration."""
    root = add_aesm(sgx_host(tmp_path))
    write(root, PLUGIN)
    write(root, CONF, FAR)
    return root


def look(root: Path, **changes: object) -> Seen:
    """What the family says of a machine."""
    return say(CHECKS, scene(root, **changes))


def shell(root: Path, **variables: str) -> Seen:
    """What the family says with more variables in the shell."""
    return look(root, environ={"HOME": APP.home, **variables})


def aesmd(root: Path, **environ: str) -> Seen:
    """What the family says with that environment of aesmd's."""
    process(root, 700, "aesm_service", uid=AESMD, environ=environ)
    return look(root)


def private(folder: Path) -> Path:
    """A folder of whoever runs the tests, closed to the accounts of the machine."""
    folder.mkdir(parents=True, mode=0o700)
    return folder


def test_a_healthy_machine_is_told_where_its_caches_are(root: Path) -> None:
    """No finding; each process's cache is named, and that there are no proxies."""
    seen = look(root)
    assert seen.codes == []
    rights = [right.what for right in seen.rights]
    assert f"the cache of Intel's library in aesmd: {HOME}/.dcap-qcnl will be made" in rights
    shells = f"the cache of Intel's library in this shell: {APP.home}/.dcap-qcnl will be made"
    assert shells in rights
    assert "proxies of aesmd are none" in rights


# ── row 13: HOME and caches ─────────────────────────────────────────────────────────────────────


def test_row_13_a_daemon_without_home_keeps_its_cache_in_tmp(root: Path) -> None:
    """The cache is not used, or is another's: aesmd has no HOME, and /tmp is everybody's."""
    (root / "tmp").chmod(0o1777)
    finding = aesmd(root).finding("surroundings-home")
    assert "aesmd: HOME is not set" in finding.what
    assert "/tmp/.dcap-qcnl, which all accounts share" in finding.what
    (mend,) = finding.mends
    assert "-o aesmd /var/cache/aesmd" in mend.text
    assert "Environment=AZDCAP_CACHE=/var/cache/aesmd" in mend.text


def test_row_13_a_unit_without_user_has_no_home(tmp_path: Path) -> None:
    """A daemon that does not run is judged by its unit: without User= systemd sets no HOME."""
    root = laptop(tmp_path)
    (root / "tmp").chmod(0o1777)
    unit(root, "qgsd", "[Service]\nExecStart=/opt/intel/tdx-qgs/qgs\n")
    finding = look(root).finding("surroundings-home")
    assert "qgsd: HOME is not set" in finding.what
    assert "by the unit of qgsd" in finding.evidence[0]
    unit(root, "qgsd", "[Service]\nUser=root\n")
    (root / "root").mkdir()
    assert look(root).codes == []


@pytest.mark.parametrize(
    ("home", "why"),
    [
        ("/nonexistent", "there is no /nonexistent"),
        ("/home/app", "its unit hides /home/app from it"),
        ("/srv", "aesmd may not write to /srv"),
        ("/etc/passwd", "/etc/passwd is no folder"),
        ("work", "work is no absolute path"),
    ],
)
def test_row_13_a_home_that_the_daemon_cannot_use(root: Path, home: str, why: str) -> None:
    """The cache goes elsewhere: HOME is missing, hidden by the unit, not writable, no folder."""
    (root / "tmp").chmod(0o1777)
    private(root / "srv")
    (root / "home/app/.dcap-qcnl").mkdir()
    (root / "home/app/.dcap-qcnl").chmod(0o777)
    assert why in aesmd(root, HOME=home).finding("surroundings-home").what
    (root / "var/cache/aesmd").mkdir(parents=True)
    (root / "var/cache/aesmd").chmod(0o775)
    assert aesmd(root, HOME=home, AZDCAP_CACHE="/var/cache/aesmd").findings == look(root).findings
    assert "surroundings-home" not in look(root).codes


def test_row_13_nowhere_to_keep_anything(root: Path) -> None:
    """A read-only machine: neither HOME nor /tmp can be written, and no cache is kept."""
    (root / "tmp").chmod(0o755)
    (root / APP.home.lstrip("/")).chmod(0o755)
    finding = look(root).finding("surroundings-home")
    assert "this shell has no place for its cache" in finding.what
    assert f"app may not write to {APP.home}; app may not write to /tmp" in finding.what
    assert "export AZDCAP_CACHE=DIR" in finding.mends[1].text


@pytest.mark.parametrize("closed", ["folder", "entry"])
def test_row_13_a_cache_that_sudo_has_made(root: Path, closed: str) -> None:
    """«Permission denied» after one run with sudo: root owns the cache in the user's home."""
    cache = private(root / APP.home.lstrip("/") / ".dcap-qcnl")
    (cache / "entry").write_bytes(b"")
    if closed == "entry":
        cache.chmod(0o775)
        (cache / "entry").chmod(0o600)
    finding = look(root).finding("surroundings-cache-owner")
    assert f"this shell cannot use its cache {APP.home}/.dcap-qcnl" in finding.what
    assert "belong" in finding.what
    assert finding.mends[0].text == f"`sudo chown -R app: {APP.home}/.dcap-qcnl`"
    assert not finding.mends[0].safe


def test_row_13_azure_s_cache_has_an_owner_too(root: Path) -> None:
    """«Error creating directory» of Azure's client: .az-dcap-client is another account's."""
    write(root, AZURE, b"\x7fELF AZDCAP_DEBUG_LOG_LEVEL")
    private(root / APP.home.lstrip("/") / ".az-dcap-client")
    seen = shell(root, AZDCAP_DEBUG_LOG_LEVEL="FATAL")
    assert ".az-dcap-client" in seen.finding("surroundings-cache-owner").what


def test_row_13_an_old_cache_in_tmp_is_found_before_a_new_one_is_made(root: Path) -> None:
    """/tmp/.dcap-qcnl is there: Intel's library takes it, though HOME could have one."""
    (root / "tmp").chmod(0o1777)
    (root / "tmp/.dcap-qcnl").mkdir()
    (root / "tmp/.dcap-qcnl").chmod(0o777)
    seen = look(root)
    assert seen.codes == ["surroundings-cache-shared"] * 2
    assert all("where every account may write" in each.what for each in seen.findings)
    assert seen.findings[0].mends[-1].text.startswith("then `sudo rm -r /tmp/.dcap-qcnl`")
    (root / APP.home.lstrip("/") / ".dcap-qcnl").mkdir(mode=0o775)
    (root / APP.home.lstrip("/") / ".dcap-qcnl").chmod(0o775)
    assert [each.what.split()[3] for each in look(root).findings] == ["aesmd"]


def test_a_daemon_with_a_tmp_of_its_own_shares_nothing(root: Path) -> None:
    """PrivateTmp= in the unit: its /tmp is not the machine's."""
    (root / "tmp").chmod(0o1777)
    assert "surroundings-cache-shared" in aesmd(root, AZDCAP_CACHE="/tmp", HOME=HOME).codes
    write(root, "/etc/systemd/system/aesmd.service.d/tmp.conf", "[Service]\nPrivateTmp=yes\n")
    os.utime(root / "etc/systemd/system/aesmd.service.d/tmp.conf", (BOOTED, BOOTED))
    assert aesmd(root, AZDCAP_CACHE="/tmp", HOME=HOME).codes == []
    private(root / "tmp/.dcap-qcnl")
    assert "aesmd" not in str(aesmd(root, AZDCAP_CACHE="/tmp", HOME=HOME).findings)
    told = f"the cache of Intel's library in aesmd: {HOME}/.dcap-qcnl will be made"
    assert told in [right.what for right in aesmd(root, HOME=HOME).rights]


def test_row_13_a_folder_that_a_variable_names_has_to_be_there(root: Path) -> None:
    """XDG_CACHE_HOME names a folder that is not there: making it is safe, and mends it."""
    named = f"{APP.home}/.cache"
    finding = shell(root, XDG_CACHE_HOME=named).finding("surroundings-cache-base")
    assert f"there is no {named}" in finding.what
    assert (finding.mends[0].command, finding.mends[0].safe) == (("mkdir", "-p", "--", named), True)
    (root / named.lstrip("/")).mkdir()
    (root / named.lstrip("/")).chmod(0o775)
    assert shell(root, XDG_CACHE_HOME=named).codes == []
    theirs = shell(root, AZDCAP_CACHE="/var/cache/x").finding("surroundings-cache-base")
    assert theirs.mends[0].text == "`sudo install -d -o app /var/cache/x`"


def test_row_13_dcap_s_own_cache_is_not_used_where_others_may_write(tmp_path: Path) -> None:
    """Group-writable or another account's: dcap says so too, and the mode is mended safely."""
    root = laptop(tmp_path)
    mine = scene(root).account.__class__("me", os.getuid(), frozenset({os.getgid()}), APP.home)
    cache = root / APP.home.lstrip("/") / ".cache/dcap"
    cache.mkdir(parents=True, mode=0o700)
    assert look(root, account=mine).codes == []
    cache.chmod(0o770)
    finding = look(root, account=mine).finding("surroundings-own-cache")
    assert finding.mends[0].safe
    assert finding.mends[0].command == ("chmod", "go-w", f"{APP.home}/.cache/dcap")
    cache.chmod(0o755)
    theirs = "app may not write" if os.getuid() == 0 else "it belongs to"
    assert theirs in look(root).finding("surroundings-own-cache").what
    assert shell(root, DCAP_CACHE="off").codes == []


def test_an_environment_that_cannot_be_read_is_skipped_and_the_unit_speaks(root: Path) -> None:
    """Without leave for /proc/PID/environ, it is said, and HOME is told by the unit's User=."""
    (root / "proc/700/environ").unlink()
    (root / "proc/700/environ").mkdir()
    seen = look(root)
    assert seen.codes == []
    (skipped,) = [each for each in seen.skipped if "aesmd" in each.what]
    assert "/proc/700/environ" in skipped.why
    assert any(f"aesmd: {HOME}/.dcap-qcnl" in right.what for right in seen.rights)


# ── rows 2 and 3: proxies and CAs ───────────────────────────────────────────────────────────────


def test_row_2_a_proxy_that_catches_localhost(root: Path) -> None:
    """0xE019 with an empty PCCS log: https_proxy is set in aesmd's environment, no_proxy is not."""
    write(root, CONF, FAR.replace("pccs.example", "localhost"))
    seen = aesmd(root, HOME=HOME, https_proxy="http://me:secret@proxy:3128")
    finding = seen.finding("surroundings-proxy")
    assert "aesmd: requests to localhost go through the proxy of https_proxy" in finding.what
    assert finding.evidence == ("https_proxy=http://…@proxy:3128",)
    assert "printf '[Service]\\nEnvironment=no_proxy=localhost\\n'" in finding.mends[0].text
    assert "/etc/systemd/system/aesmd.service.d/no-proxy.conf" in finding.mends[0].text
    assert "secret" not in repr(seen)
    quiet = aesmd(root, HOME=HOME, https_proxy="http://proxy:3128", no_proxy="localhost")
    assert quiet.codes == []


@pytest.mark.parametrize("host", ["pccs", "10.1.2.3"])
def test_row_2_the_shell_s_proxy_and_the_intranet(root: Path, host: str) -> None:
    """A bare name and a private address are caught as well; what no_proxy lists stays in it."""
    write(root, CONF, FAR.replace("pccs.example", host))
    seen = shell(root, https_proxy="http://proxy:3128", no_proxy="git")
    finding = seen.finding("surroundings-proxy")
    assert finding.mends[0].text == f"`export no_proxy=git,{host}`"
    assert seen.codes == ["surroundings-proxy"]


def test_row_2_the_shell_has_a_proxy_and_the_daemon_none(root: Path) -> None:
    """0xE019 from aesmd while curl works: what the shell needs is not in the unit."""
    proxy = "http://me:secret@proxy:3128"
    seen = shell(root, https_proxy=proxy)
    finding = seen.finding("surroundings-proxy-absent")
    assert "aesmd has no proxy, and this shell has one for pccs.example:8081" in finding.what
    assert "Environment=https_proxy=" in finding.mends[0].text
    assert "secret" not in repr(seen)
    assert shell(root, https_proxy=proxy, no_proxy=".example").codes == []
    write(root, "/etc/systemd/system.conf", f"[Manager]\nDefaultEnvironment=https_proxy={proxy}\n")
    for file in ("environ", "comm", "stat", "status", "cmdline"):
        (root / "proc/700" / file).unlink()
    assert shell(root, https_proxy=proxy).codes == []


def test_row_2_a_proxy_in_capitals_is_not_read(root: Path) -> None:
    """HTTP_PROXY alone has no effect on http:// addresses."""
    finding = shell(root, HTTP_PROXY="http://proxy:3128").finding("surroundings-proxy-capitals")
    assert finding.mends[0].text == "`export http_proxy=http://proxy:3128`"


def test_row_3_a_ca_by_variable_has_no_effect(root: Path) -> None:
    """0xE065: SSL_CERT_FILE is set for a PCCS's own CA, and Intel's library does not read it."""
    finding = shell(root, SSL_CERT_FILE="/home/app/ca.pem").finding("surroundings-ca-variable")
    assert "update-ca-certificates" in finding.mends[0].text


# ── row 8 and the other variables ───────────────────────────────────────────────────────────────


def test_row_8_azure_s_client_complains_of_a_variable(root: Path) -> None:
    """«Could not retrieve environment variable for 'AZDCAP_DEBUG_LOG_LEVEL'»: any value ends it."""
    write(root, AZURE, b"\x7fELF AZDCAP_DEBUG_LOG_LEVEL")
    finding = shell(root).finding("surroundings-azure-noise")
    assert f"{AZURE} is Azure's" in finding.evidence
    assert "export AZDCAP_DEBUG_LOG_LEVEL=FATAL" in finding.mends[0].text
    assert shell(root, AZDCAP_DEBUG_LOG_LEVEL="FATAL").codes == []
    write(root, AZURE, b"\x7fELF AZDCAP_DEBUG_LOG_LEVEL DCAP_PROVIDER_SOCKET")
    assert shell(root).codes == []  # dcap's own, which knows the variable and does not complain


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AZDCAP_DEBUG_LOG_LEVEL", "error", "says nothing at all"),
        ("AZDCAP_COLLATERAL_VERSION", "4", "v4 is taken"),
        ("AZDCAP_COLLATERAL_VERSION_TDX", "v3", "always asked for as v4"),
        ("AZDCAP_CACHE_EXPIRY_IN_SECONDS", "100000", "not within 1 and 86400"),
        ("AZDCAP_WRITE_LOGS_TO_FILE", "true", "only TRUE switches it on"),
        ("AZDCAP_BASE_CERT_URLS", "https://x", "nobody reads that name"),
        ("DCAP_OFFLIN", "1", "nobody reads that name"),
        ("QCNL_CONFIG_PATH", "/etc/x", "nobody reads that name"),
    ],
)
def test_a_variable_without_the_effect_that_it_seems_to_have(
    root: Path, name: str, value: str, said: str
) -> None:
    """A value that is none of the known ones, or a name that nobody reads."""
    finding = shell(root, **{name: value}).finding("surroundings-variable")
    assert finding.what.startswith(f"{name} does not do what it seems to")
    assert said in finding.what


def test_variables_that_have_an_effect_are_told(root: Path) -> None:
    """What is set well is shown with what it does; values that may be secret are not."""
    seen = shell(root, AZDCAP_CLIENT_ID="me", DCAP_PCS_API_KEY="hush", DCAP_OFFLINE="1")
    assert seen.codes == []
    told = [right.what for right in seen.rights]
    assert {"AZDCAP_CLIENT_ID is set", "DCAP_PCS_API_KEY is set", "DCAP_OFFLINE is set"} <= {*told}
    assert "hush" not in repr(seen)


def test_azure_s_log_file_ends_programs(root: Path) -> None:
    """AZDCAP_WRITE_LOGS_TO_FILE=TRUE: exit(1) where /tmp/dcapLog.txt cannot be written."""
    assert shell(root, AZDCAP_WRITE_LOGS_TO_FILE="TRUE").codes == ["surroundings-azure-log"]


def test_row_11_sgx_aesm_addr_with_aesm(root: Path) -> None:
    """SGX_AESM_ADDR is set and AESM is there: that is told; of one that is not, `daemons` speaks."""
    assert look(root, environ={"HOME": APP.home, "SGX_AESM_ADDR": "1"}).codes == []
    write(root, "/run/aesmd/aesm.socket")
    seen = shell(root, SGX_AESM_ADDR="1")
    assert seen.codes == []
    assert "quotes are made by aesmd" in " ".join(right.what for right in seen.rights)


def test_a_test_root_is_told(root: Path) -> None:
    """DCAP_INSECURE_TEST_ROOT is left over: verdicts are about simulated machines."""
    assert shell(root, DCAP_INSECURE_TEST_ROOT="/x.pem").codes == ["surroundings-test-root"]


def test_row_14_a_drop_in_that_its_daemon_has_not_seen(root: Path) -> None:
    """Edits have no effect: the unit was edited after aesmd had started."""
    path = "/etc/systemd/system/aesmd.service.d/proxy.conf"
    file = write(root, path, "[Service]\nEnvironment=no_proxy=localhost\n")
    os.utime(file, (BOOTED, BOOTED))
    assert look(root).codes == []
    os.utime(file, (BOOTED + 3600, BOOTED + 3600))
    finding = look(root).finding("surroundings-not-restarted")
    assert f"{path} changed 2026-01-01 01:00:00 UTC" in finding.evidence
    assert "systemctl restart aesmd" in finding.mends[0].text


def test_each_daemon_is_judged_by_itself(root: Path) -> None:
    """All is well with qgsd while aesmd's HOME is not there: only aesmd is named."""
    (root / "tmp").chmod(0o1777)
    add_qgs(root)
    seen = aesmd(root, HOME="/nonexistent")
    assert [re.match(r"\w+", each.what)[0] for each in seen.findings] == ["aesmd"]  # type: ignore[index]
