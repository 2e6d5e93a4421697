"""A client for a served model with a memory. The server is stateless, so the client sends the state with each request.

python scripts/train.py --env CartPole-v1 --memory gru --total-steps 20000 --run-dir runs/remembers
python scripts/export.py runs/remembers --output models/remembers
python scripts/serve.py models/remembers &
python examples/serve_memory_client.py http://127.0.0.1:8501/v1/models/remembers CartPole-v1
"""

import json
import sys
import urllib.request
from typing import Any

import gymnasium as gym


class Client:
    """Chooses actions by a served model, for one environment whose observations and actions are single arrays.

    Args:
      url: the model's URL, http://HOST:PORT/v1/models/NAME.
    """

    def __init__(self, url: str) -> None:
        self._model = self._url = url
        self._state: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin an episode with the version that is served now: ask for the initial state.

        The state of the value function is not needed.
        """
        with urllib.request.urlopen(f"{self._model}/metadata", timeout=30) as answer:
            self._url = f"{self._model}/versions/{json.load(answer)['model_spec']['version']}"
        first = self._ask("initial_state", 0)
        self._state = {name: part for name, part in first.items() if not name.startswith("value_")}

    def act(self, observation: Any) -> Any:
        """Choose an action. The answer holds the action, and the state to send with the next observation."""
        answer = self._ask("act", {"observations": observation, **self._state})
        action = answer.pop("actions")
        self._state = answer
        return action

    def _ask(self, endpoint: str, row: Any) -> dict[str, Any]:
        body = json.dumps({"signature_name": endpoint, "instances": [row]}).encode()
        with urllib.request.urlopen(f"{self._url}:predict", body, timeout=30) as answer:
            return dict(json.load(answer)["predictions"][0])


def play(client: Client, environment: gym.Env) -> float:
    """Run one episode and return the sum of its rewards."""
    client.begin()
    (observation, _), total, ended = environment.reset(seed=0), 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = environment.step(client.act(observation.tolist()))
        total, ended = total + float(reward), terminated or truncated
    return total


if __name__ == "__main__":
    print("return", play(Client(sys.argv[1]), gym.make(sys.argv[2])))
