"""
The benchmarks: this package and its peers, on the same work, in one run.

C{python -m tests.benchmarks} measures, prints a table, and writes the figures to
C{benchmarks-out/benchmark.json} and a chart of them beside it. With C{--out
doc/explanation} both go where the documentation takes them from. What is compared is
the ratio, and not the time, which is the machine's.

How it is measured:

  - Each measurement has a process of its own, so that no garbage, thread or
    reactor of one is met by the next. Its first tasks are not timed; the garbage
    collector runs before the clock starts and is on afterwards.
  - A round takes each measurement of a row once, for each number of workers and each
    amount of work ours and the peers' in turn, and every other round goes
    backwards. The ratio of a round is of two neighbours in time; what is printed
    is the median of the rounds, and the smallest and the largest as the spread.
  - The tasks return their argument. A measurement that does not find the sum of
    all that was to come back fails.
  - A peer that is not installed is named, and left out.
"""
