"""The page about memory: its examples run, and its endpoints are those of a model."""

import re
from pathlib import Path

import keras

import tf_trpo
from tf_trpo.models import PolicySettings
from tf_trpo.serving.saved_model import SavedModel

PAGE = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")


def test_the_examples_run_in_their_order(run_examples, tmp_path):
    examples, output = run_examples(PAGE.replace("total_steps=200_000", "total_steps=1_000"))
    assert len(examples) == 6
    assert "mean_return" in output
    assert (tmp_path / "models" / "remembers" / "1" / "saved_model.pb").is_file()


def test_the_endpoints_on_the_page_are_those_of_a_model(tmp_path):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,)), memory=keras.layers.GRUCell(4))
    found = SavedModel(1, Path(agent.export(tmp_path))).signatures
    rows = {}
    for line in PAGE.splitlines():
        if re.match(r"\| `(act|act_stochastic|value|distribution|initial_state)`", line):
            name, inputs, outputs = (re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|"))
            rows[name[0]] = set(inputs), set(outputs)
    assert rows.keys() == found.keys() - {"serving_default"}
    rows["distribution"][1].add("logits")
    for name, (inputs, outputs) in rows.items():
        assert inputs == set(found[name].inputs)
        assert outputs == set(found[name].outputs)
