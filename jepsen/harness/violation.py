"""What a checker says when a property (P1 to P20, listed in jepsen/README.md) does not hold."""

import collections

# @timing: a bound was exceeded; where the machine itself was late, that proves nothing.
Violation = collections.namedtuple("Violation", "prop t text lock clients timing", defaults=(None, (), False))
