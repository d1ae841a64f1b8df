"""The description of an LSL stream: in the header of a recording, or from the sender itself."""
