"""Programs that measure tf_trpo: its speed, and what its agents learn over seeds.

Run `python -m benchmarks COMMAND` in the folder of the checkout. The programs use public names of the package only, and
are not part of it.
"""
