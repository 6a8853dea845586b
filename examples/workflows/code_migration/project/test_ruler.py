import unittest

from ruler import cell, parts


class TestRuler(unittest.TestCase):
    def test_cell(self):
        self.assertEqual(cell("ab", 5), "   ab")
        self.assertEqual(cell("abc", 2), "abc")

    def test_parts(self):
        self.assertEqual(parts({"b": "x", "a": 1}), "a=1; b='x'")
