"""Events as JSON, of brokers and browsers."""
