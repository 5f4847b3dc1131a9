"""What can be wrong on the way to a server, as the documentation tells it. A table alone.

Source: `quote-provider.md` §1.3, §1.5, §2.4, §2.5, §6 rows 2, 3, 5, 15.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_AWAY: Final = (
    "No quote gets its certificate, and no collateral is had: quoting fails at its first call "
    "(`sgx_qe_get_target_info`), verification before it begins. The PCCS's log stays empty."
)
_RESTART: Final = (
    "Then restart what asks, for the file is read once per process: `sudo systemctl restart aesmd` "
    "(a host of trust domains: `qgsd`), or your program."
)
_WRITE: Final = "`sudo dcap qcnl write --pccs https://HOST:8081/sgx/certification/v4/`"
_UNTRUSTED_SYMPTOM: Final = "0xE065 SGX_QL_ROOT_CA_UNTRUSTED (in the log 0xB033, curl error 60)."
_NO_CERTIFICATE: Final = (
    "Intel's library breaks off before it sends anything. What is fetched is signed by Intel and "
    "checked by the verifier whatever the way was; TLS keeps private what identifies the machine."
)
_OFF: Final = (
    '`"use_secure_cert": false` in the configuration (`sudo dcap qcnl write --pccs URL --self-signed`): '
    "this does not weaken attestation, for collateral is proven by Intel's signatures; it lets who is "
    "on the way see which machine asks."
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="server-address",
        severity="error",
        title="The address of a service is none",
        symptom="0xE019, or 0xE044, at every call, and no log of any service has the request.",
        causes=(
            "The scheme is missing, or is neither https nor http.",
            "A blank, a line break, a user's name or a password stands in the URL.",
        ),
        why=_AWAY,
        mends=(f"Write it anew: {_WRITE}.", _RESTART),
        rows=(2,),
    ),
    Ailment(
        code="server-name",
        severity="error",
        title="The name of a server leads nowhere",
        symptom="0xE019 SGX_QL_NETWORK_ERROR (in the log 0xB005, curl error 6).",
        causes=(
            "The host is misspelt in `pccs_url` or `collateral_service`.",
            "DNS does not know it here: a container, or a network without a way out.",
            "The machine is to use a proxy, and the daemon's environment does not name it.",
        ),
        why=_AWAY,
        mends=("`getent hosts HOST` asks as a program does; see `/etc/resolv.conf`.", _RESTART),
        rows=(2,),
    ),
    Ailment(
        code="server-refuses",
        severity="error",
        title="Nothing listens where the service should be",
        symptom="0xE019 SGX_QL_NETWORK_ERROR (in the log 0xB006, curl error 7).",
        causes=(
            "The PCCS does not run, or listens at another port (8081 unless it was told otherwise).",
            (
                "Intel's library has discarded its configuration over a comma and asks its default, "
                "https://localhost:8081."
            ),
            "In a container `localhost` is the container, not its host.",
        ),
        why=_AWAY,
        mends=(
            "`dcap qcnl show` says which address is asked, and why; `dcap qcnl lint` what is wrong.",
            "`systemctl status pccs`, `ss -ltn` on the PCCS's host.",
            f"Name the right one: {_WRITE}.",
            _RESTART,
        ),
        rows=(2,),
    ),
    Ailment(
        code="server-unreachable",
        severity="error",
        title="The server cannot be reached",
        symptom="0xE019 (in the log 0xB009 or 0xB006), after a long wait.",
        causes=(
            "A firewall drops the packets, or there is no route.",
            "The way out is by a proxy, and the environment does not name it.",
            "The server is off.",
        ),
        why=_AWAY + " Intel's library sets no limit of its own: the system's is two minutes.",
        mends=(
            "`curl -v --connect-timeout 5 URL`, as the user who runs the daemon.",
            "`env | grep -i proxy`; for a daemon `systemctl show aesmd -p Environment`.",
        ),
        rows=(2, 15),
    ),
    Ailment(
        code="server-not-tls",
        severity="error",
        title="The address says https, and the server speaks plain HTTP",
        symptom="0xE019 (in the log 0xB00A, curl error 35).",
        causes=(
            "The scheme or the port is the wrong one.",
            "A proxy before the PCCS ends TLS and was forgotten.",
        ),
        why=_AWAY,
        mends=("Write http://, or the port at which it speaks TLS; better: let it speak TLS.",),
        rows=(2,),
    ),
    Ailment(
        code="server-is-tls",
        severity="error",
        title="The address says http, and the server speaks TLS",
        symptom="0xE019 (in the log 0xB003), or 0xE044 where the server explains itself with a 400.",
        causes=("The scheme is the wrong one: a PCCS speaks TLS unless it was told otherwise.",),
        why=_AWAY,
        mends=("Write https:// in `pccs_url` (`collateral_service`).", _RESTART),
        rows=(2,),
    ),
    Ailment(
        code="server-untrusted",
        severity="error",
        title="The server's certificate comes from nobody who is trusted here",
        symptom=_UNTRUSTED_SYMPTOM,
        causes=(
            (
                "The PCCS has the self-signed certificate of its installation, and `use_secure_cert` is "
                "true."
            ),
            "Its CA is the company's own, and is not among the system's.",
            "A proxy opens TLS and shows a certificate of its own.",
        ),
        why=_NO_CERTIFICATE,
        mends=(
            (
                "Trust it: `sudo cp ca.crt /usr/local/share/ca-certificates/pccs.crt && sudo "
                "update-ca-certificates`. Variables (SSL_CERT_FILE, CURL_CA_BUNDLE) do not count for "
                "Intel's library."
            ),
            _OFF,
        ),
        rows=(3,),
    ),
    Ailment(
        code="server-other-name",
        severity="error",
        title="The server's certificate is for another name",
        symptom=_UNTRUSTED_SYMPTOM,
        causes=(
            "The URL has an address or a short name, and the certificate another one.",
            "The certificate has a common name alone: what counts are its SANs.",
        ),
        why=_NO_CERTIFICATE,
        mends=(
            "Write a name that the certificate has into the URL, or have one made for this name.",
            _OFF,
        ),
        rows=(3,),
    ),
    Ailment(
        code="server-certificate-dates",
        severity="error",
        title="The server's certificate has expired, or is not valid yet",
        symptom=_UNTRUSTED_SYMPTOM,
        causes=(
            "It was made when the PCCS was installed, for a year, and nobody renewed it.",
            "This machine's clock is wrong.",
        ),
        why=_NO_CERTIFICATE,
        mends=("Renew it on the server and restart that; `date` shows this machine's time.", _OFF),
        rows=(3,),
    ),
    Ailment(
        code="server-tls",
        severity="error",
        title="TLS with the server fails",
        symptom="0xE019 (in the log 0xB00A), or 0xE065.",
        causes=(
            "The server speaks nothing newer than TLS 1.1, or wants a certificate of the client.",
            "Its certificate is broken in another way: a weak key, no CA, a missing link.",
        ),
        why=_AWAY,
        mends=("`openssl s_client -connect HOST:PORT -servername HOST` shows the handshake.",),
        rows=(2, 3),
    ),
    Ailment(
        code="server-silent",
        severity="error",
        title="The server takes the connection and says nothing",
        symptom="The program hangs: no error, no log, no quote.",
        causes=(
            "The service has hung up, or waits for one that does (the PCCS for Intel).",
            "What listens there is something else.",
        ),
        why="Intel's library has no limit on the time that it waits for an answer: it hangs for ever.",
        mends=(
            "`curl -kv --max-time 10 URL` against it; restart it; see its log.",
            "Give the library a nearer cache, or a PCCS that answers from what it keeps.",
        ),
        rows=(15,),
    ),
    Ailment(
        code="server-not-http",
        severity="error",
        title="What listens there does not speak HTTP",
        symptom="0xE019 (in the log 0xB003).",
        causes=("The port is that of another service.",),
        why=_AWAY,
        mends=("Correct the port: a PCCS listens at 8081 unless it was told otherwise.",),
        rows=(2,),
    ),
    Ailment(
        code="server-redirects",
        severity="error",
        title="The server sends to another address",
        symptom="0xE044 SGX_QL_UNKNOWN_MESSAGE_RESPONSE (in the log 0xB011).",
        causes=(
            "http:// was written, and the server wants https://.",
            "The service has moved, or a sign-in page stands in the way.",
        ),
        why="Intel's library follows no redirect: 3xx is an error to it.",
        mends=("Write the address to which it leads, if that is a PCCS.", _RESTART),
        rows=(5,),
    ),
    Ailment(
        code="server-is-portal",
        severity="error",
        title="A web page comes instead of an answer",
        symptom="0xE01A SGX_QL_MESSAGE_ERROR, or success with nothing in it.",
        causes=(
            "The network wants a sign-in first (captive portal).",
            "A proxy or a firewall answers in the server's place; or the URL is that of a web site.",
        ),
        why="To Intel's library every 200 is an answer; only its header is missing then.",
        mends=("Open the URL in a browser, or `curl -v URL`; have the network let it pass.",),
        rows=(5,),
    ),
    Ailment(
        code="proxy-fails",
        severity="error",
        title="The proxy does not lead to the server",
        symptom="0xE019 (in the log 0xB004, 0xB006 or 0xB003), the PCCS's log stays empty.",
        causes=(
            "A proxy of the environment catches localhost or the intranet too.",
            "The proxy's name or port is wrong, or it wants a password.",
        ),
        why=_AWAY,
        mends=(
            (
                "Put the host into `no_proxy`: for a daemon `sudo systemctl edit aesmd`, "
                "`Environment=no_proxy=HOST`."
            ),
            (
                "Intel's library reads `http_proxy` (small letters alone), `https_proxy`, `all_proxy`, "
                "`no_proxy`."
            ),
        ),
        rows=(2,),
    ),
    Ailment(
        code="proxy-setting",
        severity="error",
        title="The proxy in the environment is none",
        symptom="0xE019 (in the log 0xB004).",
        causes=("The variable has no host, a wrong scheme, or a blank in it.",),
        why=_AWAY,
        mends=("Write it as http://HOST:PORT, or take it out.",),
        rows=(2,),
    ),
    Ailment(
        code="local-pck-away",
        severity="warning",
        title="The first address for PCK certificates does not answer",
        symptom="Each quote takes some seconds more.",
        causes=(
            "`local_pck_url` was copied from Azure's sample, and this is no machine of Azure's.",
            "The host agent of the cloud is not let through.",
        ),
        why="It is asked before every quote, even before the cache; then the library goes on.",
        mends=("Take `local_pck_url` out of the configuration where there is no such agent.",),
        rows=(15,),
    ),
)
