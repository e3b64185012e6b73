"""Linear models and deep networks, trained by MapReduce."""

__version__ = "0.1.0"
