"""The functions of the language, with `sin`, `cos` and `tan` of any angle: for runs that the quick ones cannot tell."""

from dpl.runtime import elementary
from dpl.runtime.functions import *  # noqa: F403

sin, cos, tan = elementary.sin, elementary.cos, elementary.tan
