"""`serve`: answer TensorFlow Serving's REST requests for an exported model."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.serving.settings import ServerSettings


@dataclasses.dataclass(frozen=True)
class ServeSettings(ServerSettings):
    """Serve an exported model by TensorFlow Serving's REST API, with nothing but TensorFlow below it."""

    model: tyro.conf.Positional[Path] = dataclasses.field(kw_only=True)
    """Folder of the model, such as saved_models/CartPole-v1; its newest version is served, and newer ones to come."""


def main(argv: Sequence[str]) -> None:
    """Parse options, serve until a signal."""
    with one_line_errors():
        settings: ServeSettings = parse(ServeSettings, argv, "serve")
        _check_extra()
        start_tensorflow()
        from tf_trpo.serving.saved_model import ModelError
        from tf_trpo.serving.server import serve

        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        try:
            serve(settings.model, settings)
        except ModelError as error:
            hint = "" if settings.trust else "; a SavedModel is a program: --trust serves one of others all the same"
            raise UsageError(f"{error}{hint if 'did not write' in str(error) else ''}") from None
        except OSError as error:
            what = error.filename or f"{settings.host}:{settings.port}"
            raise UsageError(f"{what}: {error.strerror or error}") from None


def _check_extra() -> None:
    try:
        import orjson  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f'{error.name} is not installed: pip install "tf_trpo[serve]"') from None
