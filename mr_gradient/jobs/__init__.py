"""MRJobs, their records, and the runners that run them."""

from mr_gradient import threads as _threads
from mr_gradient.jobs import mrjob_compat as _mrjob_compat

_threads.set_environment()  # before a task loads numpy
_mrjob_compat.install()     # before anything imports mrjob
