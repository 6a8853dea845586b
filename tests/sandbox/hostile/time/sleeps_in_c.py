# expect: timeout
import ctypes
ctypes.CDLL(None).sleep(1000)
