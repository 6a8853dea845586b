import unittest

from greeting import greeting


class TestGreeting(unittest.TestCase):
    def test_greeting(self):
        self.assertEqual(greeting("Minji"), "Hello, Minji!")
        self.assertEqual(greeting("100% cotton"), "Hello, 100% cotton!")
