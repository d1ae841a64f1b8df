"""What holds for all tests."""

from hypothesis import settings

from configs.one_thread import one_thread

# As in the commands: numpy is loaded later, and a child process inherits it.
one_thread()

# The same examples in every run: a failure is there for everybody, and not only now and then.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")
