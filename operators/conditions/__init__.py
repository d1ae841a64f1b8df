"""Conditions over fused ticks: their expressions, the names that these read, and rules."""

from operators.conditions.names import names, readable
from operators.conditions.rule_watch import Rule, RuleWatch

__all__ = ["Rule", "RuleWatch", "names", "readable"]
