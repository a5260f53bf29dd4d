"""Break the code that states an equation, one place at a time, and see whether its check notices.

Every check carries wrong versions that its author thought of. This package makes the wrong versions
that nobody thought of: a sign, a coefficient, an exponent, an index or a transpose is changed in the
code of one side of a comparison, the cell runs again, and the check must fail. A change that the check
accepts is a *survivor*: the check is too weak there, or the change leaves the statement true.

=====================  ===================================================================
`flow`                 which code states an equation, and which only prepares the example
`operators`            the changes
`run`                  execute a chapter once, and each change in a forked process
`report`               survivors, those listed as equivalent, and the table
=====================  ===================================================================
"""

from ntkbook.verify.mutation.run import Cell, Outcome, mutate

__all__ = ["Cell", "Outcome", "mutate"]
