"""What a checker says when a property (P1 to P20, listed in jepsen/README.md) does not hold."""

import collections

# @timing: a bound was exceeded; where the machine itself was late, that proves nothing.
# @index: of the log entry that it is about.
Violation = collections.namedtuple("Violation", "prop t text lock clients timing index",
                                   defaults=(None, (), False, 0))
