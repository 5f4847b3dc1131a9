"""The way to each address: rows 2, 3, 5, 15 of `quote-provider.md` §6, each set up on loopback.

Truth is a PCCS under a CA that the machine trusts; each test changes one thing of it.
"""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asked_machine import BUNDLE, CONFIG, PATH, Machine, asked, closed_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scratch import process, say, write

from dcap.api.http import HttpRequest, HttpResponse
from dcap.doctor import network
from dcap.doctor.visits import visits_of
from dcap.serving import serving
from dcap.simulator import World, wire_faults
from dcap.simulator.alibaba import alibaba
from dcap.simulator.tls import WRONG_NAMES, tls_files


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all of them: nothing here changes it."""
    return World("doctor's network")


def test_a_machine_whose_pccs_answers_has_no_finding(tmp_path: Path, world: World) -> None:
    """A PCCS with a trusted certificate is right, with each step and the certificate as evidence."""
    with asked(tmp_path, world) as (machine, server):
        seen = say(network.CHECKS, machine.scene())
    assert seen.codes == []
    (right,) = seen.rights
    steps = [line.partition(":")[0] for line in right.evidence[1:5]]
    assert steps == ["name", "TCP", "TLS", "HTTP"]
    assert any("127.0.0.1, localhost" in line for line in right.evidence)
    assert f"127.0.0.1:{server.port} answers" in right.what


def test_each_address_is_walked_to_once(tmp_path: Path, world: World) -> None:
    """However many checks ask, and however many settings name it, one address is one request."""
    asked_for: list[str] = []
    truth = alibaba(world)

    def counting(request: HttpRequest) -> HttpResponse:
        asked_for.append(request.path)
        return truth(request)

    with asked(tmp_path, world, handler=counting) as (machine, server):
        machine.configure(server.url + PATH, collateral_service=server.url + PATH)
        scene = machine.scene()
        say(network.CHECKS, scene)
        say(network.CHECKS, scene)
    assert asked_for == ["/sgx/certification/v4/qe/identity"]


def test_offline_nothing_is_asked(tmp_path: Path, world: World) -> None:
    """With `offline`, the way is skipped, and says so."""
    with asked(tmp_path, world) as (machine, _):
        seen = say(network.CHECKS, machine.scene(offline=True))
    assert (seen.codes, len(seen.skipped)) == ([], 1)


def test_row_2_nothing_listens(tmp_path: Path, world: World) -> None:
    """Row 2, 0xE019 at `sgx_qe_get_target_info`: nothing listens; start the PCCS, or name another."""
    machine = Machine(tmp_path, world)
    port = closed_port()
    machine.configure(f"https://127.0.0.1:{port}{PATH}")
    seen = say(network.CHECKS, machine.scene())
    finding = seen.finding("server-refuses")
    assert f"nothing listens at 127.0.0.1:{port} (pccs_url of {CONFIG}, line 2)" in finding.what
    assert any("0xE019 (0xB006)" in line for line in finding.evidence)
    assert "systemctl start pccs" in seen.mends("server-refuses")
    assert "dcap qcnl write --pccs" in seen.mends("server-refuses")
    assert "a PCCS listens at 8081 unless it was told otherwise" in seen.mends("server-refuses")


def off_localhost() -> dict[str, str]:
    """An environment in which localhost (and its port 8081) is asked in vain, whatever runs there."""
    return {"https_proxy": f"http://127.0.0.1:{closed_port()}", "no_proxy": "127.0.0.1"}


def test_row_2_a_discarded_configuration(tmp_path: Path, world: World) -> None:
    """Row 2: a comma too many sends Intel's library to localhost:8081; the finding names the comma."""
    with asked(tmp_path, world) as (machine, server):
        text = f'{{\n  "pccs_url": "{server.url}{PATH}",\n}}'
        write(machine.root, CONFIG, text)
        seen = say(network.CHECKS, machine.scene(environ=off_localhost()))
    (finding,) = seen.findings
    assert "to localhost:8081" in finding.what
    assert f"{CONFIG}, line 2: a comma stands before the closing bracket" in finding.what
    assert f"dcap qcnl lint {CONFIG}" in finding.mends[0].text
    assert [right.what for right in seen.rights if "as dcap asks it" in right.what]


def test_row_2_a_file_that_is_named_and_absent(tmp_path: Path, world: World) -> None:
    """Row 2: what is not there has no line to correct; the command writes that file, not another."""
    machine = Machine(tmp_path, world)
    environ = {"QCNL_CONF_PATH": "/etc/mine.conf", **off_localhost()}
    findings = say(network.CHECKS, machine.scene(environ=environ)).findings
    (texts,) = (
        " ".join(mend.text for mend in each.mends) for each in findings if "because of" in each.what
    )
    assert "qcnl lint" not in texts
    assert "/sgx/certification/v4/ --output /etc/mine.conf`" in texts


def test_row_2_no_configuration_beside_intels_library(tmp_path: Path, world: World) -> None:
    """Row 2: without a file, Intel's library asks localhost:8081, and it is said why."""
    machine = Machine(tmp_path, world)
    environ = {"DCAP_SOURCE": ".", **off_localhost()}
    assert say(network.CHECKS, machine.scene(environ=environ)).codes == []
    write(machine.root, "/usr/lib/x86_64-linux-gnu/libsgx_default_qcnl_wrapper.so.1")
    (finding,) = say(network.CHECKS, machine.scene(environ=environ)).findings
    assert "localhost:8081" in finding.what
    assert "because of" in finding.what
    assert "there is no" in finding.what


def test_row_2_localhost_in_a_container(tmp_path: Path, world: World) -> None:
    """Row 2: in a container localhost is the container; the mend is to name the host."""
    machine = Machine(tmp_path, world)
    machine.configure(f"https://localhost:{closed_port()}{PATH}")
    write(machine.root, "/.dockerenv")
    seen = say(network.CHECKS, machine.scene())
    assert "localhost is the container itself" in seen.mends("server-refuses")
    assert "host.docker.internal" in seen.mends("server-refuses")
    assert "systemctl start" not in seen.mends("server-refuses")


def test_row_2_https_to_a_plain_port(tmp_path: Path, world: World) -> None:
    """Row 2, 0xB00A: https:// to a server of plain HTTP; the mend is the same URL with http://."""
    machine = Machine(tmp_path, world)
    with serving(alibaba(world)) as server:
        machine.configure(server.url.replace("http:", "https:") + PATH)
        seen = say(network.CHECKS, machine.scene())
    finding = seen.finding("server-not-tls")
    assert any("without TLS it answers 200" in line for line in finding.evidence)
    assert f"write {server.url}{PATH}" in seen.mends("server-not-tls")


def test_row_2_http_to_a_tls_port(tmp_path: Path, world: World) -> None:
    """Row 2: http:// to a server of TLS; the mend is the same URL with https://."""
    with asked(tmp_path, world) as (machine, server):
        plain = server.url.replace("https:", "http:") + PATH
        machine.configure(plain)
        seen = say(network.CHECKS, machine.scene())
    assert f"write {server.url}{PATH}" in seen.mends("server-is-tls")


def test_row_2_a_name_that_leads_nowhere(tmp_path: Path, world: World) -> None:
    """Row 2, 0xB005: the host does not resolve; the mend asks the resolver."""
    machine = Machine(tmp_path, world)
    machine.configure(f"https://pccs.invalid:8081{PATH}")
    seen = say(network.CHECKS, machine.scene())
    assert "the name pccs.invalid leads nowhere" in seen.finding("server-name").what
    assert "getent hosts pccs.invalid" in seen.mends("server-name")


def test_row_2_an_address_that_is_none(tmp_path: Path, world: World) -> None:
    """Row 2: an address without a scheme is not asked at all."""
    machine = Machine(tmp_path, world)
    machine.configure("pccs.example:8081/sgx/certification/v4/")
    assert say(network.CHECKS, machine.scene()).codes == ["server-address"]


def test_row_2_a_proxy_catches_localhost(tmp_path: Path, world: World) -> None:
    """Row 2: a proxy of the environment that does not answer; the mend is no_proxy with this host."""
    port = closed_port()
    with asked(tmp_path, world) as (machine, _):
        environ = {"https_proxy": f"http://127.0.0.1:{port}", "no_proxy": ".example"}
        seen = say(network.CHECKS, machine.scene(environ=environ))
    assert f"the proxy 127.0.0.1:{port} does not lead to" in seen.finding("proxy-fails").what
    assert "no_proxy=.example,127.0.0.1" in seen.mends("proxy-fails")


def test_row_2_a_proxy_that_refuses(tmp_path: Path, world: World) -> None:
    """Row 2: a proxy that answers CONNECT with an error is named, with its status."""
    with (
        asked(tmp_path, world) as (machine, _),
        serving(alibaba(world), tunnel=lambda _: None) as proxy,
    ):
        seen = say(network.CHECKS, machine.scene(environ={"https_proxy": proxy.url}))
    assert "answers 502" in seen.finding("proxy-fails").what


def test_capitals_of_http_proxy_do_not_count_for_intels_library(
    tmp_path: Path, world: World
) -> None:
    """For libcurl there is no HTTP_PROXY: the address is asked directly, and answers."""
    machine = Machine(tmp_path, world)
    with serving(alibaba(world)) as server:
        machine.configure(server.url + PATH)
        dead = f"http://127.0.0.1:{closed_port()}"
        assert say(network.CHECKS, machine.scene(environ={"HTTP_PROXY": dead})).codes == []
        assert say(network.CHECKS, machine.scene(environ={"http_proxy": dead})).codes == [
            "proxy-fails"
        ]


@pytest.mark.parametrize(("command", "unit"), [("aesm_service", "aesmd"), ("qgs", "qgsd")])
def test_row_2_a_proxy_of_a_daemon_alone(
    tmp_path: Path, world: World, command: str, unit: str
) -> None:
    """Row 2: the shell reaches the PCCS, and a daemon, whose environment has a proxy, does not."""
    with asked(tmp_path, world) as (machine, _):
        dead = {"https_proxy": f"http://127.0.0.1:{closed_port()}", "NO_PROXY": ".example"}
        process(machine.root, 700, command, environ=dead)
        seen = say(network.CHECKS, machine.scene())
    assert seen.codes == ["proxy-fails"]
    assert f"asked by Intel's library in {unit}" in seen.findings[0].evidence[0]
    assert ["asked by Intel's library" in right.evidence[0] for right in seen.rights] == [True]
    mends = seen.mends("proxy-fails")
    assert f"`sudo systemctl edit {unit}`" in mends
    assert "`Environment=no_proxy=.example,127.0.0.1`" in mends
    assert "export" not in mends


def test_row_2_the_file_of_a_daemon(tmp_path: Path, world: World) -> None:
    """Row 2: aesmd reads the file that its own QCNL_CONF_PATH names, and that one is broken."""
    with asked(tmp_path, world) as (machine, _):
        process(machine.root, 700, "aesm_service", environ={"QCNL_CONF_PATH": "/opt/qcnl.conf"})
        write(
            machine.root, "/opt/qcnl.conf", f'{{"pccs_url": "http://127.0.0.1:{closed_port()}/"}}'
        )
        seen = say(network.CHECKS, machine.scene())
    assert "pccs_url of /opt/qcnl.conf, line 1" in seen.finding("server-refuses").what


def test_a_proxy_that_is_none(tmp_path: Path, world: World) -> None:
    """A proxy of an unknown kind is a finding that names the variable; who has none is still asked."""
    with asked(tmp_path, world) as (machine, _):
        process(machine.root, 700, "aesm_service")
        seen = say(network.CHECKS, machine.scene(environ={"https_proxy": "ftp://127.0.0.1:1"}))
    assert "https_proxy" in seen.finding("proxy-setting").what
    assert seen.codes == ["proxy-setting"]
    assert len(seen.rights) == 1


def test_a_proxy_by_socks_is_libcurls_affair(tmp_path: Path, world: World) -> None:
    """Intel's library goes by SOCKS and dcap does not: the way is skipped, and nothing is wrong."""
    with asked(tmp_path, world) as (machine, _):
        seen = say(network.CHECKS, machine.scene(environ={"all_proxy": "socks5://127.0.0.1:1"}))
    assert (seen.codes, len(seen.skipped)) == ([], 1)


def self_signed(folder: Path, *names: str, until: datetime | None = None) -> tuple[Path, Path]:
    """The files of a certificate that is its own CA, as a PCCS's installation makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(until or now + timedelta(days=400))
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    certificate, private = folder / "own.pem", folder / "own_key.pem"
    signed = builder.sign(key, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


@contextmanager
def own_certificate(
    top: Path, world: World, *names: str, until: datetime | None = None, **settings: object
) -> Iterator[tuple[Machine, str, Path]]:
    """A machine and a PCCS that has made its own certificate; its URL by name, and the certificate."""
    machine = Machine(top, world)
    files = self_signed(machine.certificates, *names, until=until)
    with serving(alibaba(world), tls=files) as server:
        url = f"https://localhost:{server.port}{PATH}"
        machine.configure(url, **settings)
        yield machine, url, files[0]


def test_row_3_a_self_signed_certificate(tmp_path: Path, world: World) -> None:
    """Row 3, 0xE065: self-signed with use_secure_cert true; issuer and SAN are shown, and trusted."""
    with own_certificate(tmp_path, world, "localhost") as (machine, url, _):
        environ = {"SSL_CERT_FILE": "/home/app/pccs.crt"}
        seen = say(network.CHECKS, machine.scene(environ=environ))
    finding = seen.finding("server-untrusted")
    assert "signed by itself" in finding.what
    evidence = "\n".join(finding.evidence)
    assert "certificate of CN=localhost, issued by itself" in evidence
    assert "its names (SAN): localhost" in evidence
    assert "0xE065 (0xB033)" in evidence
    assert "SSL_CERT_FILE, SSL_CERT_DIR, CURL_CA_BUNDLE do not count" in evidence
    mends = seen.mends("server-untrusted")
    assert "sudo update-ca-certificates" in mends
    assert f"-connect {url.split('/')[2]} " in mends
    assert '"use_secure_cert": false' in mends
    assert "does not weaken attestation" in mends


def test_row_3_the_mend_mends(tmp_path: Path, world: World) -> None:
    """Row 3: with the certificate in the system's bundle, nothing is left to find."""
    with own_certificate(tmp_path, world, "localhost") as (machine, _, certificate):
        write(machine.root, BUNDLE, certificate.read_bytes())
        assert say(network.CHECKS, machine.scene()).codes == []


def test_row_3_the_servers_own_certificate_is_an_end(tmp_path: Path, world: World) -> None:
    """Row 3: as for libcurl, the server's own certificate in the bundle is enough, whoever signed it."""
    with asked(tmp_path, world, trusted=False) as (machine, _):
        write(machine.root, BUNDLE, (machine.certificates / "tls_certificate.pem").read_bytes())
        assert say(network.CHECKS, machine.scene()).codes == []


def test_row_3_use_secure_cert_false(tmp_path: Path, world: World) -> None:
    """Row 3: where certificates are not looked at, one that nobody trusts is no finding."""
    with own_certificate(tmp_path, world, use_secure_cert=False) as (machine, _, _cert):
        seen = say(network.CHECKS, machine.scene())
    assert seen.codes == []
    assert "its certificate not looked at" in seen.rights[0].what


def test_row_3_self_signed_without_the_name(tmp_path: Path, world: World) -> None:
    """Row 3: a common name alone is none; trusting the certificate is not enough."""
    with own_certificate(tmp_path, world) as (machine, _, _cert):
        seen = say(network.CHECKS, machine.scene())
    assert "trusting it is not enough" in seen.mends("server-untrusted")
    assert "none of its names is localhost" in seen.finding("server-untrusted").evidence


def test_row_3_on_red_hat(tmp_path: Path, world: World) -> None:
    """Row 3: where the system keeps anchors as Red Hat does, the mend has its folder and command."""
    with own_certificate(tmp_path, world, "localhost") as (machine, _, _cert):
        (machine.root / "etc/pki/ca-trust/source/anchors").mkdir(parents=True)
        seen = say(network.CHECKS, machine.scene())
    assert "/etc/pki/ca-trust/source/anchors/pccs.crt" in seen.mends("server-untrusted")
    assert "sudo update-ca-trust" in seen.mends("server-untrusted")


def test_row_3_an_unknown_ca(tmp_path: Path, world: World) -> None:
    """Row 3: a company's own CA that is not installed is named as the issuer."""
    with asked(tmp_path, world, trusted=False) as (machine, _):
        seen = say(network.CHECKS, machine.scene())
    assert "dcap simulator TLS CA" in seen.finding("server-untrusted").what
    assert "trust its CA: `sudo cp ca.crt" in seen.mends("server-untrusted")


def test_row_3_a_certificate_for_another_name(tmp_path: Path, world: World) -> None:
    """Row 3: the certificate is for another host; both names are said."""
    with asked(tmp_path, world, names=WRONG_NAMES) as (machine, _):
        seen = say(network.CHECKS, machine.scene())
    what = seen.finding("server-other-name").what
    assert "is for another-host.invalid, not for 127.0.0.1" in what
    assert "write another-host.invalid as host" in seen.mends("server-other-name")


def test_row_3_an_expired_certificate(tmp_path: Path, world: World) -> None:
    """Row 3: the PCCS's certificate of a year has ended; the day is said."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with own_certificate(tmp_path, world, "localhost", until=yesterday) as (
        machine,
        _,
        certificate,
    ):
        write(machine.root, BUNDLE, certificate.read_bytes())
        seen = say(network.CHECKS, machine.scene())
    assert f"until {yesterday:%Y-%m-%d}" in seen.finding("server-certificate-dates").what
    assert "renew the certificate" in seen.mends("server-certificate-dates")


def test_row_5_a_redirect(tmp_path: Path, world: World) -> None:
    """Row 5, 0xE044: a redirect, which Intel's library does not follow; its host is said, no more."""
    with asked(tmp_path, world, handler=wire_faults.redirecting(alibaba(world))) as (machine, _):
        seen = say(network.CHECKS, machine.scene())
    finding = seen.finding("server-redirects")
    assert "answers 302 and sends on to https://elsewhere.invalid (" in finding.what
    assert any("0xE044" in line for line in finding.evidence)


def test_row_5_a_captive_portal(tmp_path: Path, world: World) -> None:
    """Row 5: a page with status 200, as a network that wants a sign-in sends it."""
    with asked(tmp_path, world, handler=wire_faults.html_page(alibaba(world))) as (machine, _):
        assert say(network.CHECKS, machine.scene()).codes == ["server-is-portal"]


def test_row_15_a_server_that_hangs(tmp_path: Path, world: World) -> None:
    """Row 15: the connection is taken and no answer comes; the walk ends in time."""
    machine = Machine(tmp_path, world)
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        machine.configure(f"http://127.0.0.1:{silent.getsockname()[1]}{PATH}")
        seen = say(network.CHECKS, machine.scene(timeout=0.05))
    assert "says nothing" in seen.finding("server-silent").what
    assert "waits for ever" in seen.mends("server-silent")


def test_local_pck_url_is_only_a_warning(tmp_path: Path, world: World) -> None:
    """Row 15: an agent that is not there delays each quote; it is told apart from what is needed."""
    with asked(tmp_path, world, local_pck_url=f"http://127.0.0.1:{closed_port()}/") as (machine, _):
        assert say(network.CHECKS, machine.scene()).codes == ["local-pck-away"]


@pytest.mark.parametrize(
    ("role", "expected"), [("attester", ["pccs_url"]), ("verifier", ["collateral_service"])]
)
def test_only_what_a_role_asks_is_asked(
    tmp_path: Path, world: World, role: str, expected: list[str]
) -> None:
    """A machine that only verifies does not ask `pccs_url` where there is a `collateral_service`."""
    with asked(tmp_path, world) as (machine, server):
        machine.configure(server.url + PATH, collateral_service=server.url + PATH)
        seen = visits_of(machine.scene(roles=frozenset({role})))
    assert [asked.setting for asked, _ in seen.visits] == expected


def test_dcaps_own_source_trusts_the_files_of_the_environment(tmp_path: Path, world: World) -> None:
    """DCAP_SOURCE is asked as dcap asks: SSL_CERT_FILE counts, without any qcnl.conf."""
    machine = Machine(tmp_path, world)
    certificate, key, ca = tls_files(world, machine.certificates)
    with serving(alibaba(world), tls=(certificate, key)) as server:
        environ = {"DCAP_SOURCE": server.url}
        assert say(network.CHECKS, machine.scene(environ=environ)).codes == ["server-untrusted"]
        write(machine.root, "/home/app/ca.pem", ca.read_bytes())
        environ["SSL_CERT_FILE"] = "/home/app/ca.pem"
        assert say(network.CHECKS, machine.scene(environ=environ)).codes == []


def test_every_code_is_in_the_table() -> None:
    """What can be found is what is documented, each once, each with its mends."""
    codes = [ailment.code for ailment in network.AILMENTS]
    assert len(set(codes)) == len(codes)
    assert all(ailment.mends and ailment.causes and ailment.rows for ailment in network.AILMENTS)
    assert set(network.MENDS) < set(codes)
