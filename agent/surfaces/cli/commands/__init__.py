"""The arguments and help of each command, by group. The work is in the modules beside, loaded when a command runs."""
