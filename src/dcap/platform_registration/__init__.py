"""Registration: what identifies a machine to Intel, read on the machine, told to a PCCS or to Intel.

Floor 8. The word is Intel's ("platform registration"). Afterwards the machine's PCK certificate can be
had, and is kept. Not here: what a service answers (`api.registration`, `api.pccs`).
"""
