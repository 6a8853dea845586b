import unittest

from table import row, rule


class TestTable(unittest.TestCase):
    def test_row(self):
        self.assertEqual(row("mouse", 9.5), "mouse     |    9.50|")
        self.assertEqual(row("a long name of a thing", 1234.567, "dear"), "a long name of a thing| 1234.57|dear")

    def test_rule(self):
        self.assertEqual(rule(3), "---")
