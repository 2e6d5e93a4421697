#!/usr/bin/env python3
"""`tf_trpo tune`, from a checkout."""

from tf_trpo.cli import run_command

if __name__ == "__main__":
    run_command("tune")
