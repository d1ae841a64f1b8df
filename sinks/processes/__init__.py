"""Processes beside the flow, and the pipes to them."""
