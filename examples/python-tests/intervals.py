"""Sets of integers, kept as sorted, disjoint, half-open intervals."""


class Intervals:
    """A set of integers; adding and asking take time linear in the number of intervals."""

    def __init__(self, pairs=()):
        self._pairs = []
        for start, end in pairs:
            self.add(start, end)

    def add(self, start, end):
        """Adds start, start + 1, … up to but without end; ValueError if end is before start."""
        if end < start:
            raise ValueError(f"interval ends at {end}, before its start at {start}")
        if start == end:
            return
        kept = []
        for low, high in self._pairs:
            if high < start or end < low:
                kept.append((low, high))
            else:
                start, end = min(low, start), max(high, end)
        self._pairs = sorted([*kept, (start, end)])

    def __contains__(self, value):
        return any(low <= value < high for low, high in self._pairs)

    def __iter__(self):
        return iter(self._pairs)

    def __len__(self):
        return sum(high - low for low, high in self._pairs)
