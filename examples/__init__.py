"""Example programs that use tf_trpo's public names only; run them in the folder of the checkout."""
