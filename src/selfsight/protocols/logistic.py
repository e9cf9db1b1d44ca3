"""Logistic regression to convergence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selfsight.progress import track
from selfsight.protocols.base import Answer, ClassTask, Protocol


@dataclass(frozen=True)
class Logistic(Protocol):
    """Logistic regression on standardised features by scikit-learn, C chosen by cross-validation in training.

    As Kornblith et al.: Do Better ImageNet Models Transfer Better? (CVPR 2019), and CLIP (Radford et al., ICML 2021)
    judge frozen features. Slower than `linear`, and converged.

    cs: inverse penalties to choose from. folds: of the cross-validation; a class with fewer images has that many.
    max_iter: steps of L-BFGS.
    """

    cs: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    folds: int = 5
    max_iter: int = 1000

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        rarest = int(torch.bincount(task.train)[task.train.unique()].min())
        for row, train, test in track(task.features(), len(task.trial.rows), "logistic regression", unit="rows"):
            x, y = train.double().numpy(), task.train.numpy()
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=self.max_iter))
            c, folds = self.cs[len(self.cs) // 2], min(self.folds, rarest)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # what has not converged is judged as it is
                if folds > 1 and len(self.cs) > 1:
                    split = StratifiedKFold(folds, shuffle=True, random_state=task.seed)
                    search = GridSearchCV(model, {"logisticregression__C": self.cs}, cv=split, refit=False).fit(x, y)
                    c = search.best_params_["logisticregression__C"]
                model.set_params(logisticregression__C=c).fit(x, y)
            scores = torch.from_numpy(np.asarray(model.predict_proba(test.double().numpy())))
            yield task.answer(row, scores, torch.from_numpy(model.classes_), C=c)
