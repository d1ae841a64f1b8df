"""Discovery: OSC inputs announced by multicast DNS, and OSCQuery."""
