"""How much memory there is, and that what is freed is kept."""

import os
import platform
import subprocess
import sys

import pytest

from selfsight.memory import free_memory, keep_memory


def test_free_memory_is_plausible():
    assert 2**20 < free_memory() < 2**50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_memory_is_kept_unless_someone_has_said_how(monkeypatch):
    assert keep_memory()
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    assert not keep_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_kept_memory_is_not_cleared_again():
    """Tensors that come and go fault their pages once where memory is kept, and each time where it is not."""
    code = """if True:
        import resource, sys, torch
        from selfsight.memory import keep_memory
        keep_memory()
        def use():
            a, b = torch.ones(5 << 20), torch.ones(5 << 20)
        for _ in range(10): use()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10): use()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    faults = [
        int(subprocess.run([sys.executable, "-c", code], env={**os.environ, **more}, capture_output=True).stdout)
        for more in ({}, {"MALLOC_TOP_PAD_": "0", "MALLOC_MMAP_THRESHOLD_": "131072"})
    ]
    assert faults[0] < faults[1] / 3
