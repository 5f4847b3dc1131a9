"""The attester: whoever makes evidence on this machine, by the protocol that it speaks.

Floor 6, beside `sources`. The name is RATS's (RFC 9334). Not here: simulated machines, which the command
line puts behind the same protocol, and what a quote is worth (`verification`).
"""

from dcap.attester.attester import Attester, Description

__all__ = ["Attester", "Description"]
