"""LSL: a stream of the Lab Streaming Layer as a live stream."""
