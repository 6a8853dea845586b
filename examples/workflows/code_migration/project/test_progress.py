import unittest

from progress import left, progress


class TestProgress(unittest.TestCase):
    def test_progress(self):
        self.assertEqual(progress(1, 4), " 25% [##        ]")
        self.assertEqual(progress(4, 4), "100% [##########]")

    def test_left(self):
        self.assertEqual(left(125), "2 min 05 s left")
