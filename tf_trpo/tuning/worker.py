"""A process of a search, started by `processes.run_workers`: python -m tf_trpo.tuning.worker FOLDER INDEX JOBS TASK."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from tf_trpo.cores import available_cores
from tf_trpo.tuning.processes import counted_as_worker, end_with_parent
from tf_trpo.tuning.tuning import Tuning, TuningFailedError


def main(folder: Path, index: int, jobs: int, task: str) -> None:
    """Work on trials, or on every JOBS-th training of the final check."""
    end_with_parent()
    with counted_as_worker(folder):
        # Imported after end_with_parent, since importing TensorFlow takes seconds, in which the parent may end.
        from tf_trpo.tuning.files import read_space_of, read_tuning
        from tf_trpo.tuning.study import Study, best_of
        from tf_trpo.tuning.work import check_runs, work_on_check, work_on_trials

        tuning = _with_share_of_cores(read_tuning(folder), jobs)
        study = Study(folder, read_space_of(folder), tuning.experiment.run.seed, prune=tuning.prune)
        if task == "trials":
            work_on_trials(tuning, study, folder, worker=index)
        else:
            best = best_of(study.records())
            assert best is not None, "the check comes after the trials"
            work_on_check(check_runs(tuning, best.number, best.settings)[index::jobs], tuning, folder)


def _with_share_of_cores(tuning: Tuning, jobs: int) -> Tuning:
    """Set each process's number of threads to its share of the cores, unless the number is set already."""
    threads = tuning.experiment.run.threads or max(available_cores() // jobs, 1)
    return dataclasses.replace(tuning, experiment=tuning.experiment.replace(threads=threads))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    except TuningFailedError as error:
        raise SystemExit(str(error)) from None
