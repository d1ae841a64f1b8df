"""evidence: rules over fused ticks become findings."""

from operators.evidence.evidence import Evidence, EvidenceConfig

__all__ = ["Evidence", "EvidenceConfig"]
