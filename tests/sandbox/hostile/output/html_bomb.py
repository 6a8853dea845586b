# expect: ok
class Page:
    def _repr_html_(self):
        return '<script>alert(1)</script>' * 1_000_000
Page()
