"""The console: what a PCCS keeps and how it does, as pages for people, and a few acts of its admin.

    application(lambda: parts)      # an ASGI application, for everything that is no route of the API

Rendered here, whole, without scripts: a browser that has them switched off sees the same. Whoever
reaches the service may read; the admin token opens a session that may act. Identifiers of machines are
masked. Not here: the API (`handler`), probes and metrics (`health`).
"""

from dcap.pccs.console.application import application

__all__ = ["application"]
