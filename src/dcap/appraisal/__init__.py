"""Floor 4: is it acceptable? From a verified quote and a policy to an attestation result.

`appraise` is the only maker of `AttestationResult`. Nothing here can make something true that
`verification` did not prove.
"""

from dcap.appraisal.appraiser import appraise
from dcap.appraisal.policy import Policy
from dcap.appraisal.reference_values import Release
from dcap.appraisal.result import AttestationResult

__all__ = ["AttestationResult", "Policy", "Release", "appraise"]
