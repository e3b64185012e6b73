"""The smallest job of mrjob, for tests of what runs it."""

import mr_gradient.jobs  # noqa: F401  before mrjob

# isort: split
from mrjob.job import MRJob


class WordCountJob(MRJob):
    """Lines in, words and their counts out."""

    def mapper(self, _, line):
        for word in line.split():
            yield word, 1

    def reducer(self, word, counts):
        yield word, sum(counts)


if __name__ == "__main__":
    WordCountJob.run()
