import json
import pathlib
import random
import tempfile
import unittest

from intervals import Intervals


class IntervalsTest(unittest.TestCase):
    def test_touching_intervals_become_one(self):
        self.assertEqual(list(Intervals([(5, 8), (1, 5)])), [(1, 8)])

    def test_an_interval_that_bridges_a_gap_swallows_both_sides(self):
        self.assertEqual(list(Intervals([(0, 2), (8, 9), (1, 8)])), [(0, 9)])

    def test_an_empty_interval_adds_nothing(self):
        self.assertEqual(len(Intervals([(3, 3)])), 0)

    def test_a_reversed_interval_is_refused(self):
        with self.assertRaisesRegex(ValueError, "before its start"):
            Intervals([(2, 1)])

    def test_it_agrees_with_a_plain_set(self):
        rng = random.Random(1)
        plain, intervals = set(), Intervals()
        for _ in range(200):
            start = rng.randrange(500)
            end = start + rng.randrange(20)
            plain.update(range(start, end))
            intervals.add(start, end)
        self.assertEqual(len(intervals), len(plain))
        self.assertTrue(all((n in intervals) == (n in plain) for n in range(-5, 530)))

    def test_it_can_be_written_and_read_back(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "set.json")
            path.write_text(json.dumps(list(Intervals([(1, 4), (7, 9)]))))
            self.assertEqual(list(Intervals(json.loads(path.read_text()))), [(1, 4), (7, 9)])


if __name__ == "__main__":
    unittest.main()
