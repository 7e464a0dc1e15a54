"""Things that belong together, because pairs of them do."""


class Groups:
    """The groups that joining pairs of n things, 0 to n - 1, makes of them: a union-find structure.

    Source: Tarjan, van Leeuwen 1984, "Worst-Case Analysis of Set Union Algorithms"; here with halving of paths.
    """

    def __init__(self, n: int) -> None:
        self._above = list(range(n))

    def first(self, i: int) -> int:
        """Return the smallest of the group that `i` is in."""
        while self._above[i] != i:
            self._above[i] = i = self._above[self._above[i]]
        return i

    def joined(self, i: int, j: int) -> bool:
        """Tell whether two things are in one group."""
        return self.first(i) == self.first(j)

    def join(self, i: int, j: int) -> bool:
        """Make one group of two; False when they were one before."""
        low, high = sorted((self.first(i), self.first(j)))
        self._above[high] = low
        return low != high
