"""scikit-learn's parameter searches in joblib's workers: equal results, and one thread for a small network."""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from pellucid.estimators import NetworkClassifier
from pellucid.training import loop
from pellucid.training.callbacks import Callback

X, Y = load_digits(return_X_y=True)
X = (X[:300] / 16).astype(np.float32)
Y = Y[:300]


def run_search() -> GridSearchCV:
    return GridSearchCV(NetworkClassifier(epochs=3, random_state=0), {"batch_size": [30, 100]}, cv=2).fit(X, Y)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_two_workers_give_the_results_of_one(backend: str):
    one_worker = run_search()
    with parallel_config(backend, n_jobs=2):
        two_workers = run_search()
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(two_workers.cv_results_[name], one_worker.cv_results_[name])
    for path, weights in one_worker.best_estimator_.model_.weights.items():
        np.testing.assert_array_equal(two_workers.best_estimator_.model_.weights[path].numpy(), weights.numpy())


@pytest.mark.parametrize(("batch_size", "threads"), [(200, 1), (300, 2)])
def test_a_small_network_trains_on_one_thread(batch_size: int, threads: int, monkeypatch: pytest.MonkeyPatch):
    """An example takes 64 x 250 + 250 x 10 multiply-adds: 3.7 million for 200 examples, 5.55 million for 300."""
    from pellucid.combine import Sequential
    from pellucid.layers import Dense, ReLU

    thread_counts = set[int]()

    class RecordThreads(Callback):
        def on_epoch_end(self, training, row) -> None:
            thread_counts.add(torch.get_num_threads())

    original_init = loop.Loop.__init__

    def init_with_callback(self, model, plan) -> None:
        original_init(self, model, plan)
        self.plan.callbacks.append(RecordThreads())

    monkeypatch.setattr(loop.Loop, "__init__", init_with_callback)
    torch.set_num_threads(2)
    try:
        net = Sequential(Dense(250), ReLU(), Dense(10))
        NetworkClassifier(net, epochs=1, batch_size=batch_size, random_state=0).fit(X, Y)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert thread_counts == {threads}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_concurrent_training_leaves_the_number_of_threads_unchanged():
    def train(seed: int) -> float:
        return float(NetworkClassifier(epochs=2, random_state=seed).fit(X, Y).score(X, Y))

    before = torch.get_num_threads()
    with parallel_config("threading", n_jobs=4):
        result = Parallel()(delayed(train)(seed) for seed in range(8))
    assert torch.get_num_threads() == before
    assert result == [train(seed) for seed in range(8)]
