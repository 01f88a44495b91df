"""Rows in, rows out: jobs that can be killed and continued."""
