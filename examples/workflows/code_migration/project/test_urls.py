import unittest

from urls import url


class TestUrls(unittest.TestCase):
    def test_url(self):
        self.assertEqual(url("shop.test", path="/a/b"), "https://shop.test:443/a/b")
        self.assertEqual(url("localhost", 8000, secure=False), "http://localhost:8000/")
