#!/usr/bin/env python3
"""`tf_trpo check-env`, from a checkout."""

from tf_trpo.cli import run_command

if __name__ == "__main__":
    run_command("check-env")
