"""Programs of this repository that measure tf_trpo: its speed, and what its agents learn over seeds.

`python -m benchmarks COMMAND`, from the folder of the checkout. They use the package's public names only, and are no
part of it.
"""
