"""Lines of a weather station."""


def read(text):
    """A dict from day to temperature in degrees Celsius; empty lines are skipped."""
    temperatures = {}
    for line in text.splitlines():
        if line.strip():
            day, degrees = line.split()
            temperatures[day] = float(degrees)
    return temperatures
