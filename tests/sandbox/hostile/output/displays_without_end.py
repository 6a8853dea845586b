# expect: ok error
class Page:
    def _repr_html_(self):
        return '<b>x</b>' * 1000
for _ in range(2000):
    display(Page())
