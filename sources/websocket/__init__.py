"""WebSocket: a server for browsers and programs that send events."""
