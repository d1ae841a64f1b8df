"""Examples that run: programs that use the library, and patches that receive its outputs."""
