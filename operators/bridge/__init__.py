"""bridge: a beat clock in rate and phase with a reference, and the states in which it plays."""
