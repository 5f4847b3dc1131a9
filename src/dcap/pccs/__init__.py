"""The PCCS: a caching service between Intel and the machines, compatible with Intel's and stricter.

Not here: the client that asks a PCCS (`sources`), and the messages of its API (`api.pccs`). Its
dependencies come with `dcap[server]`; nothing outside this package imports them.
"""
