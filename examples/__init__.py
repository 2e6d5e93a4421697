"""Programs that use tf_trpo's public names only; run them from the folder of the checkout."""
