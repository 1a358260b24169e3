"""Advisory claims: who is at work at which paths. Not those of batches, which are in storage/queue."""

from storage.claims.advisory_claims import AdvisoryClaim, AdvisoryClaims, ClaimEvent, overlap

__all__ = ["AdvisoryClaim", "AdvisoryClaims", "ClaimEvent", "overlap"]
