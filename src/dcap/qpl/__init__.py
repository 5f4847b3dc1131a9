"""The world of the quote provider library: Intel's QPL, its network library, its codes.

Here stand the codes that quoting, provider and verification return, with their meaning and remedy
(`error_codes` and its tables). Not here: the HTTP contracts of PCS and PCCS (`dcap.api`), the
fetching of collateral (`dcap.sources`), and the check of a quote (`dcap.verification`).
"""
