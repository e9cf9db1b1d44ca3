from __future__ import annotations

import warnings

import pytest
import torch

from selfsight.data import FolderSource, ResidentLane, StreamingLane, open_lane
from selfsight.data.lanes import decoded_bytes

from .test_lane import indices, numbers


def test_what_fits_is_resident(ragged, monkeypatch):
    source = FolderSource(ragged)
    lane = open_lane(source, 4, view_size=8, seed=3)
    assert isinstance(lane, ResidentLane)
    assert lane.size == 10  # 1.15 times the view, rounded up
    assert "resident in memory" in lane.reason
    monkeypatch.setattr("selfsight.data.lanes.free_memory", lambda: 1000)
    lane = open_lane(source, 4, view_size=8, workers=0)
    assert isinstance(lane, StreamingLane)
    assert "streaming with 0 workers: 0.00 GB decoded" in lane.reason
    assert isinstance(open_lane(source, 4, lane="resident"), ResidentLane)
    assert isinstance(open_lane(source, 4, lane="streaming", workers=0), StreamingLane)
    monkeypatch.setattr("selfsight.data.lanes.free_memory", lambda: 4 * decoded_bytes(source, 10))
    assert isinstance(open_lane(source, 4, view_size=8, sharers=2, workers=0), ResidentLane)
    assert isinstance(open_lane(source, 4, view_size=8, sharers=3, workers=0), StreamingLane)
    with pytest.raises(ValueError, match="no lane 'slow'"):
        open_lane(source, 4, lane="slow")


def test_decoded_bytes_are_those_of_the_lane(ragged):
    source = FolderSource(ragged)
    for size in (None, 9):
        assert decoded_bytes(source, size) == ResidentLane(source, 4, size=size).nbytes


class TestLightning:
    """Lightning walks the lane without exhausting it, and resumes it in the middle of an epoch."""

    @pytest.fixture
    def fit(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lightning.pytorch import LightningModule, Trainer

        class Record(LightningModule):
            def __init__(self, stop_after=None):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))
                self.seen, self.stop_after = [], stop_after

            def training_step(self, batch, _):
                self.seen.append(indices(batch))
                return self.weight.sum()

            def on_train_batch_end(self, *_):
                if len(self.seen) == self.stop_after:
                    self.trainer.save_checkpoint(tmp_path / "last.ckpt")
                    raise KeyboardInterrupt

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)

        def run(lane, stop_after=None, resume=False):
            module = Record(stop_after)
            trainer = Trainer(
                max_epochs=3,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    trainer.fit(module, lane, ckpt_path=tmp_path / "last.ckpt" if resume else None)
                except (KeyboardInterrupt, SystemExit):
                    assert len(module.seen) == stop_after
            return module.seen

        return run

    @pytest.mark.parametrize("stop_after", [2, 5, 7])
    def test_resumes_exactly(self, fit, stop_after):
        whole = fit(ResidentLane(numbers(20), 4, seed=1))
        assert len(whole) == 15
        assert whole[5:10] != whole[:5]
        first = fit(ResidentLane(numbers(20), 4, seed=1), stop_after=stop_after)
        rest = fit(ResidentLane(numbers(20), 4, seed=1), resume=True)
        assert first + rest == whole
