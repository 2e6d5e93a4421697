"""Versions are added, removed, changed and damaged, with the watcher alone and while a server runs."""

import shutil
import threading
import time

import pytest

from tf_trpo.serving.model_watcher import ModelWatcher

ROW = {"instances": [[1, 2, 3]]}


@pytest.fixture
def copies(exported, tmp_path):
    """A copied model folder with version 1, and another agent's export for further versions."""
    shutil.copytree(exported["gaussian"], tmp_path / "model" / "1")
    return tmp_path / "model", exported["categorical"]


def statuses(server):
    return {entry["version"]: entry for entry in server.get()[1]["model_version_status"]}


def test_versions_are_added_and_removed_and_no_request_is_dropped(copies, start_server, until):
    folder, other = copies
    server = start_server(folder)
    answers, ended = [], threading.Event()

    def ask():
        with server.connection() as connection:
            while not ended.is_set():
                answers.append(server.post(ROW, connection=connection))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        # The first half of a copy, whose checksums do not match yet.
        shutil.copytree(other, folder / "2", ignore=shutil.ignore_patterns("variables.data*"))
        until(lambda: statuses(server).get("2", {}).get("state") == "END")
        assert statuses(server)["1"]["state"] == "AVAILABLE"
        said = statuses(server)["2"]["status"]
        assert said["error_code"] == "FAILED_PRECONDITION"
        assert "is not whole: variables/variables.data" in said["error_message"]
        # The other half.
        shutil.copytree(other, folder / "2", dirs_exist_ok=True)
        until(lambda: statuses(server)["2"]["state"] == "AVAILABLE")
        assert statuses(server)["1"]["state"] == "END"
        assert server.post(ROW, "/versions/1:predict")[0] == 404
        # A newer version that is not a model changes nothing.
        (folder / "3").mkdir()
        (folder / "3" / "saved_model.pb").write_bytes(b"no model")
        until(lambda: statuses(server).get("3", {}).get("state") == "END")
        assert statuses(server)["2"]["state"] == "AVAILABLE"
        assert list(statuses(server)) == ["3", "2", "1"]
        # The newest version is removed: back to the previous one.
        shutil.rmtree(folder / "2")
        until(lambda: statuses(server)["1"]["state"] == "AVAILABLE")
        time.sleep(0.3)  # several more calls of `look`
    finally:
        ended.set()
        for client in clients:
            client.join()
        server.stop()
    assert {status for status, _ in answers} == {200}
    # First an array, the Gaussian's action, then a number, the action of the categorical policy of version 2.
    kinds = [type(answer["predictions"][0]) for _, answer in answers]
    assert {list, int} == set(kinds)


def test_files_that_change_under_the_number_in_service_are_loaded_unless_they_are_damaged(copies):
    folder, other = copies
    watcher = ModelWatcher(folder)

    def look():
        watcher.look()
        return watcher.current

    first = look()
    assert look() is first
    shutil.rmtree(folder / "1")
    assert look() is first
    shutil.copytree(other, folder / "1")
    second = look()
    assert second is not first
    assert second.metadata.action_space["type"] == "Discrete"
    assert watcher.statuses == {1: ("AVAILABLE", "OK", "")}
    shutil.copytree(other, folder / "0")
    program = folder / "1" / "saved_model.pb"
    good = program.read_bytes()
    program.write_bytes(b"no model")
    assert look() is second
    assert list(watcher.statuses) == [1]
    assert watcher.statuses[1][:2] == ("AVAILABLE", "FAILED_PRECONDITION")
    assert "saved_model.pb is missing, changed or new" in watcher.statuses[1].error_message
    program.write_bytes(good)
    assert look() is not second
    assert watcher.statuses == {1: ("AVAILABLE", "OK", "")}


def test_a_version_that_was_replaced_comes_back_though_its_files_did_not_change(copies):
    folder, other = copies
    shutil.copytree(other, folder / "2")
    watcher = ModelWatcher(folder)
    places = [folder / "2", folder / "aside"]
    for version in (2, 1, 2):
        watcher.look()
        assert watcher.current.version == version
        shutil.move(*places)
        places.reverse()
