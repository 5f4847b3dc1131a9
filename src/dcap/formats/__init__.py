"""Floor 1: what bytes mean. Readers and writers, and nothing that opens, checks or judges.

A value made here is a *claim*: a `Quote` says what it says, whoever wrote it. `verification`
decides whether it is true.
"""
