"""The free memory that the machine and the container leave."""

from datasets import memory


def test_free_memory_is_that_of_the_container(monkeypatch):
    files = {
        "/proc/meminfo": ["MemTotal: 900 kB", "MemAvailable: 700 kB"],
        "/sys/fs/cgroup/memory.max": ["max"],
        "/sys/fs/cgroup/memory.current": ["100"],
    }
    monkeypatch.setattr(memory, "_read_lines", lambda file: files.get(file, []))
    assert memory.find_free_memory() == 700 * 1024
    files["/sys/fs/cgroup/memory.max"] = ["5100"]
    assert memory.find_free_memory() == 5000
    files.clear()
    assert memory.find_free_memory() > 2**27  # that of the machine
