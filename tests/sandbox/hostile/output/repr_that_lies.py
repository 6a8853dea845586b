# expect: ok error timeout
class Liar:
    def __repr__(self):
        return 5
Liar()
