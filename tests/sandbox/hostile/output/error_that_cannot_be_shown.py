# expect: error
class Odd(Exception):
    def __str__(self):
        raise self
raise Odd
