"""evidence: rules over fused ticks become findings."""

from operators.evidence.evidence import Evidence, EvidenceConfig, Rule, names, readable

__all__ = ["Evidence", "EvidenceConfig", "Rule", "names", "readable"]
