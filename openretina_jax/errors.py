"""The one exception that stands for a mistake in what the user gave us.

Scripts print its message as a single line and exit with status 2; anything else that is raised is a bug of
ours and keeps its traceback.
"""


class UserError(Exception):
    """Bad input: the message says what was wrong, the value, the rule and the remedy, in one line."""
