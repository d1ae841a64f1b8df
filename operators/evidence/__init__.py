"""evidence: rules over fused ticks become findings."""

from operators.evidence.evidence import Evidence, EvidenceConfig, names, readable
from operators.evidence.rule_watch import Rule, RuleWatch

__all__ = ["Evidence", "EvidenceConfig", "Rule", "RuleWatch", "names", "readable"]
