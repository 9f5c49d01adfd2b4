"""Chance of our own: an application that seeds the ``random`` module keeps its own sequence."""

import os
import random
from typing import Final

CHANCE: Final = random.Random()

if hasattr(os, "register_at_fork"):
    # Else all children would draw the same numbers, and their jitter would not spread anything.
    os.register_at_fork(after_in_child=CHANCE.seed)
