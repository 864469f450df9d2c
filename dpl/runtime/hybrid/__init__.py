"""A run with events and modes: each mode's own smooth motion (`march`), and what happens at the instants between.

A run is a sequence of visits: one mode's march up to an event, an alarm, a jump, a tick or the end, then what happens
there. In a visit only members that are in its mode take part; so many runs at once stay one program, and no run mixes
the right-hand sides of two modes. What goes wrong is a status in the result, never an exception.
"""

from dpl.runtime.hybrid.measures import SAID, ended, measured, notes, notes_of_many, observed, sensed

__all__ = ["SAID", "ended", "measured", "notes", "notes_of_many", "observed", "sensed"]
