"""`serve`: answer TensorFlow Serving's REST requests for an exported model."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.serving.settings import ServerSettings


@dataclasses.dataclass(frozen=True)
class ServeOptions(ServerSettings):
    """Serve an exported model by TensorFlow Serving's REST API; TensorFlow computes the model, Keras is not loaded."""

    model: Positional[Path] = dataclasses.field(kw_only=True)
    """Folder of the model, such as saved_models/CartPole-v1; the newest version is served, even if added later."""


def main(argv: Sequence[str]) -> None:
    """Serve a model until SIGTERM or Ctrl-C."""
    options = parse(ServeOptions, argv, "serve")
    start_tensorflow()
    from tf_trpo.serving.server import serve

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        serve(options.model, options)
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, f"{options.host}:{options.port}") from None
        raise
