"""Work on the history beside a run: exports, and moments of its commands."""
