#!/usr/bin/env python3
"""`tf_trpo figures`, from a checkout."""

from tf_trpo.cli import run_command

run_command("figures")
