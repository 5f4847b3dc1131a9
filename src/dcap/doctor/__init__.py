"""The doctor: what is wrong with a machine's attestation, why, and the command that mends it.

Floor 8, above all that it examines. It reads, connects and asks; it changes nothing by itself. Not here:
how its findings are told (`cli.doctor`), and what a code of Intel's means (`qpl.error_codes`).
"""
