import pytest
import torch

from selfsight.engine.hardware import choose_hardware, describe_hardware, reproducible

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")


@without_gpu
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match=r"no GPU here: use devices='cpu'"):
        choose_hardware("gpu")


@pytest.mark.parametrize("devices", ["tpu", 0, "-1"])
def test_impossible_devices(devices):
    with pytest.raises(ValueError, match="devices"):
        choose_hardware(devices)


@without_gpu
def test_more_processes_than_cores_are_refused_before_they_fill_the_memory():
    with pytest.raises(ValueError, match=r"devices=9999, but torch sees no GPU here .*: use a number from 1 to"):
        choose_hardware(9999)


def test_unknown_precision():
    with pytest.raises(ValueError, match="'auto', 'bf16' or '32', not '16'"):
        choose_hardware("cpu", "16")


@without_gpu
@pytest.mark.parametrize("devices", [2, "2"])
def test_a_number_without_gpus_means_processes(devices):
    hardware = choose_hardware(devices, "32")
    assert (hardware.accelerator, hardware.world, hardware.external) == ("cpu", 2, False)


def test_the_place_that_torchrun_gives(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    hardware = choose_hardware("cpu", "32")
    assert (hardware.rank, hardware.world, hardware.local_world, hardware.external) == (3, 4, 2, True)


def test_determinism_is_put_back():
    before = torch.are_deterministic_algorithms_enabled()
    with reproducible("cpu"):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before


def test_the_machine_is_described():
    described = describe_hardware(choose_hardware("cpu"))
    assert described["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert described["hardware"]["threads"] == torch.get_num_threads()
