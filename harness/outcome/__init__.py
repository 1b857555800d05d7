"""Observations -> outcome, outcomes -> verdict. Pure: no process, no socket, no clock."""
