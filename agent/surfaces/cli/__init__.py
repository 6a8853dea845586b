"""The command `fastslow`: draws what a run says, and sets up what a run needs."""
