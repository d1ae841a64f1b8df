"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run: a failure is there for everybody, and not only now and then.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
