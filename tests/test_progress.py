"""What `progress` may be, and who draws its bar."""

from stepimp.progress import Bar, no_progress, reporter


def test_of_several_processes_the_first_alone_draws_a_bar(monkeypatch):
    launch = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    for rank, kind in (("0", Bar), ("1", type(no_progress))):
        monkeypatch.setenv("RANK", rank)
        assert type(reporter(True)) is kind
