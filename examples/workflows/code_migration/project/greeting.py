"""What customers are greeted with."""


def greeting(name):
    return "Hello, %s!" % name
