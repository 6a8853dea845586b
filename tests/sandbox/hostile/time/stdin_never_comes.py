# expect: error
input()
