import unittest

from logline import logline


class TestLogline(unittest.TestCase):
    def test_line(self):
        record = {"time": "09:30", "level": "INFO", "message": "up"}
        self.assertEqual(logline(record), "09:30 INFO    up")

    def test_error(self):
        record = {"time": "09:31", "level": "ERROR", "message": "down", "error": ValueError("no")}
        self.assertEqual(logline(record), "09:31 ERROR   down (ValueError('no'))")
