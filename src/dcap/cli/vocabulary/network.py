"""Codes of the way to a service: name, connection, TLS, proxy, and the answer as bytes.

Not here: what a service says once it is reached (`pcs`, `pccs`), which of Intel's codes is the same
(`sources.intel_codes`).
"""

from typing import Final

from dcap.cli.vocabulary.row import CURL, Row, Rows

_PROXIES: Final = "`env | grep -i _proxy` lists them; put the host into no_proxy"

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    # what a person wrote
    "network-ca": Row(1, "A file of CA certificates for servers cannot be used.",
        ("The file of --ca or SSL_CERT_FILE is DER, a private key or a PKCS#12; PEM belongs there.",
         "SSL_CERT_FILE names a file that is not there, or not mounted into the container."),
        ("`openssl x509 -in FILE -noout -subject -enddate` must show the CA",
         "`openssl x509 -inform der -in FILE -out FILE.pem` makes PEM of DER")),
    "network-proxy-url": Row(1, "A proxy variable of the environment holds no address of a proxy.",
        ("It names a SOCKS proxy, which is not supported.",
         "A blank, a quotation mark or a line end stands in the variable."),
        ("`env | grep -i _proxy` shows it: write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",)),
    "network-url": Row(6, "The address of a service names no host that can be asked.",
        ("The scheme is missing: localhost:8081 in place of https://localhost:8081.",
         "A user name and a password stand in the address."),
        ("write it as https://HOST:8081/sgx/certification/v4/",)),
    "network-request": Row(6, "A request has characters that no request may have: it was not sent.",
        ("A header or a parameter of custom_request_options has a blank or a line end in it.",
         "A key or a token that a program gives holds a line end or letters beyond ASCII."),
        ("`dcap qcnl lint` names the setting and its place",)),
    # the way there
    "network-name": Row(6, "The host's name leads to no address.",
        ("The name is misspelt, or is known in the intranet alone.",
         "The container or machine has no DNS.",
         "Only a proxy knows names of the internet, and no variable names the proxy."),
        ("`getent hosts HOST` must print an address",
         "behind a proxy: `export https_proxy=http://PROXY:PORT`")),
    "network-refused": Row(6, "No connection to the host could be made.",
        ("The PCCS does not run, or listens on 127.0.0.1 alone, as Intel's does by default.",
         "In a container, localhost is the container itself, not the host with the PCCS.",
         "Host or port are those of another service, or of where the PCCS was before."),
        ("`curl -kv https://HOST:PORT/` says whether anything listens there",
         "`dcap qcnl show` prints the address that is really asked")),
    "network-timeout": Row(6, "The service did not answer in the time that it was given.",
        ("A firewall drops the packets, so that not even a refusal comes back.",
         "Intel's PCCS repeats for up to a minute before it admits that Intel did not answer."),
        ("`curl -v --max-time 90 URL` tells whether it is slow or silent",
         "give it longer: --timeout 90",
         "name a second source: --source URL --source pcs")),
    "network-tls": Row(6, "The server does not speak TLS, or none that is still safe.",
        ("https:// was written for a port that speaks plain HTTP.",
         "The service or its proxy is so old that it has no TLS 1.2."),
        ("`openssl s_client -connect HOST:PORT` shows what it speaks",
         "write http:// if it speaks plain HTTP there")),
    "network-certificate": Row(6, "The server's certificate is not trusted.",
        ("A PCCS of one's own has the self-signed certificate that its installer made.",
         "The server is asked by an IP address or a name that its certificate does not have.",
         "A company's proxy opens TLS and shows a certificate of its own."),
        ("`openssl s_client -connect HOST:PORT -showcerts` shows it: issuer, names, dates",
         "give its CA: --ca FILE, or SSL_CERT_FILE; for Intel's library `update-ca-certificates`",
         "or set use_secure_cert to false, which checks no server at all")),
    "network-proxy": Row(6, "A proxy stands between, and does not lead to the host.",
        ("A proxy variable catches localhost or the intranet, where the proxy cannot go.",
         "The proxy wants a user and a password (407), or has no rule for the host (403).",
         "The proxy's own name or port has changed."),
        (_PROXIES, "a proxy with a password: http://USER:PASSWORD@HOST:PORT")),
    # the answer
    "network-redirect": Row(6, "The answer leads on to another address, which is not followed.",
        ("http:// was written, and the server sends everybody to https://.",
         "A sign-in page of the network catches the request."),
        ("`curl -v URL` shows the Location: name that address itself, if it is the service's",)),
    "network-encoding": Row(6, "The answer came packed (gzip), though that was not asked for.",
        ("A proxy or a CDN before the service compresses everything.",),
        ("`curl -v URL` must show no Content-Encoding: have it turned off for this path",)),
    "network-protocol": Row(6, "What answers there does not speak HTTP/1.1.",
        ("http:// was written for a port that speaks TLS.",
         "Something else listens there: SSH, a database, a proxy that breaks headers."),
        (CURL, "write https:// if the port speaks TLS")),
    "network-too-large": Row(6, "The answer is larger than any collateral.",
        ("The URL is that of a web page or a download, not of a service.",),
        ("`curl -sI URL` shows Content-Type and length",)),
    "network-cut-off": Row(6, "The connection ended before the whole answer was there.",
        ("The service, or a load balancer before it, was restarted in the middle.",
         "A proxy ends long connections or long answers."),
        ("ask again; `curl -v -o answer URL` shows whether it always ends at one place",)),
}
# fmt: on
