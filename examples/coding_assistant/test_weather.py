import unittest

from report import report

LINES = """
2026-03-01 7.5
2026-03-02 9.5
"""


class TestReport(unittest.TestCase):
    def test_report(self):
        self.assertEqual(report(LINES), "2 days, 8.5 degrees on average, warmest on 2026-03-02")
