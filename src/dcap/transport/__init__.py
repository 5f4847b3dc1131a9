"""The network as a Handler: HTTP/1.1 over TCP or TLS, with limits on time, size and patience.

    network = Network(ca=Path("pccs.pem"), limits=Limits(total=10))
    pccs = network.handler("https://pccs.example:8081")
    pccs(HttpRequest(target="/sgx/certification/v4/qe/identity"))

What does not come back as an `HttpResponse` is raised as `Unavailable`, under a code that begins with
`network-`. Nothing here reads what is transported; what it means is for `api` and `sources` to say,
and whether it is true for `verification`.

`network` is the retries, `exchange` one attempt, `connection` the sockets, `limits` and `patience` how
long they wait, `trust` the certificates, `proxies` and `address` what stands in the environment and
in URLs, `failures` and `shown` what is said of a failure.

Not here: caches, services, a server (`serving`).
"""

from dcap.transport.limits import Limits
from dcap.transport.network import Network, NetworkHandler

__all__ = ["Limits", "Network", "NetworkHandler"]
