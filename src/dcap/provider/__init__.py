"""The process behind `libdcap_quoteprov.so.1`: it gets, proves and keeps what programs ask for.

Modules: `server` (the process), `connections` (its socket), `peers` (who is there), `answering` (bytes
to bytes, and answers that are ready), `provider` (the calls), `callers` (whose configuration), `asking`
and `items` (what is asked besides whole sets), `persistent` (what a quoting enclave stores), `forms`
(DER, hex, PEM), `refusals` (why not), `settings` and `place` (how the process is run, and where). The
library itself is in `native/`; `library` says where it was built, `install` puts it in its place.
"""
