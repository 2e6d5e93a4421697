#!/usr/bin/env python3
"""`tf_trpo benchmark`, from a checkout."""

from tf_trpo.cli import run_command

run_command("benchmark")
