import unittest

from clock import clock, span


class TestClock(unittest.TestCase):
    def test_clock(self):
        self.assertEqual(clock(65), "01:05")
        self.assertEqual(clock(1440 + 5), "00:05")

    def test_span(self):
        self.assertEqual(span(540, 1020), "09:00 to 17:00")
