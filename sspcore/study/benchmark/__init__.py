"""The benchmark of a machine: every system's training steps and frame rates within a number of minutes, `sspcore benchmark`.

    parts (what is measured, in the order of its importance) -> session (minutes, failures) -> worker (a process of its own)

A part yields rows; the session writes the figures' file again after each.
"""
