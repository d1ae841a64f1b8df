"""Settings that stations share: plan, channels, groups, bounds of numbers."""
