"""What shows a run to somebody: nothing else imports these."""
