"""Settings that a recording shows to be better, each judged on data that did not choose it."""
