"""`dcap sim up`: who is answered (keys), and by which way one comes there (the proxy)."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from test_sim_up import refused_up, sim, up

from dcap.simulator import World
from dcap.simulator.registration import add_request

# Keys


@pytest.mark.parametrize("way", ["--api-key", "--api-key-file", "stdin", "environment"])
def test_pck_certificates_and_packages_need_the_key(tmp_path: Path, way: str) -> None:
    """Without the key that `up` was given both are 401; with it they are not; the rest needs none."""
    (tmp_path / "key").write_text("right\n")
    given, more = {
        "--api-key": (("--api-key", "right"), {}),
        "--api-key-file": (("--api-key-file", "key"), {}),
        "stdin": (("--api-key-file", "-"), {}),
        "environment": ((), {"DCAP_SIM_API_KEY": "right"}),
    }[way]
    machine = World().platform()
    with up(tmp_path, *given, stdin="right\n", **more) as ready:
        query = f"encrypted_ppid={machine.encrypted_ppid.hex()}&pceid=0000"
        pcks = f"{ready['pcs_url']}/sgx/certification/v4/pckcerts?{query}"
        package = f"{ready['registration_url']}/sgx/registration/v1/package"
        octets = {"Content-Type": "application/octet-stream"}

        def status(url: str, key: str, body: bytes | None = None) -> int:
            headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
            asked = urllib.request.Request(url, body, headers | (octets if body else {}))
            context = ssl.create_default_context(cafile=ready["tls_ca_pem"])
            try:
                with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return int(error.code)

        for url, body in ((pcks, None), (package, add_request(machine))):
            assert [status(url, key, body) for key in ("", "wrong", "right")] == [401, 401, 200]
        assert status(ready["root_crl_url"], "") == 200
        assert status(f"{ready['registration_url']}/sgx/registration/v1/platform", "", b"x") == 400


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--api-key", ""), "the API key is empty"),
        (("--api-key", "two\nlines"), "not printable ASCII"),
        (("--api-key-file", "-"), "the API key is empty"),
        (("--api-key-file", "missing"), "[file-unreadable]"),
        (("--api-key", "a", "--api-key-file", "-"), "exclude each other"),
    ],
)
def test_a_key_that_is_none_is_refused(tmp_path: Path, given: tuple[str, ...], why: str) -> None:
    """Exit status 1, with the reason, before anything is served."""
    assert why in refused_up(tmp_path, *given, stdin="\n")


# The internet in a box


def through_the_proxy(ready: dict[str, Any]) -> urllib.request.OpenerDirector:
    """A client that knows the proxy and its CA."""
    context = ssl.create_default_context(cafile=ready["tls_ca_pem"])
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": ready["proxy_url"]}),
        urllib.request.HTTPSHandler(context=context),
    )


def test_the_proxy_leads_real_names_here(tmp_path: Path) -> None:
    """Intel's real URL through `proxy_url`, what happens to the world included."""
    with up(tmp_path, "--proxy-port", "0") as ready:
        opener = through_the_proxy(ready)
        url = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
        with opener.open(url, timeout=20) as answer:
            assert answer.read() == World().intel.root_ca_crl(World().at)
        sim(tmp_path, "event", "crl-reissued")
        with opener.open(url, timeout=20) as answer:
            assert answer.read() != World().intel.root_ca_crl(World().at)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("unauthorised", "401"), ("wrong-certificate", "CERTIFICATE_VERIFY_FAILED")],
)
def test_faults_of_the_wire_are_behind_the_proxy_too(
    tmp_path: Path, fault: str, error: str
) -> None:
    """Answers and certificates are as wrong under the real names."""
    with up(tmp_path, "--proxy-port", "0", "--wire-fault", fault) as ready:
        opener = through_the_proxy(ready)
        with pytest.raises(OSError, match=error):
            opener.open("https://api.trustedservices.intel.com/sgx/certification/v4/fmspcs")
