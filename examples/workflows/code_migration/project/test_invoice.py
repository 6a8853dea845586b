import unittest

from invoice import line, total


class TestInvoice(unittest.TestCase):
    def test_line(self):
        self.assertEqual(line("mouse", 3, 9.5), "mouse: 3 x 9.50 = 28.50")
        self.assertEqual(line("ink", 1, 20), "ink: 1 x 20.00 = 20.00")

    def test_total(self):
        self.assertEqual(total([9.5, 0.25]), "total 9.75 EUR")
