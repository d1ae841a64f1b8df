"""The process and its host: clock, standard error, shutdown."""
