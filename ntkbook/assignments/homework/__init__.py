"""The questions of the assignments, one module each, with the tests that answers are judged by."""
