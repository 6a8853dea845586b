# expect: ok error died timeout
import builtins
for name in ('print', 'open', 'len', 'isinstance', 'compile', 'eval', 'repr', 'str'):
    setattr(builtins, name, None)
