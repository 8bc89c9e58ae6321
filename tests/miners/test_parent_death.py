import subprocess
import sys

from tests.miners.processes import are_gone, is_running

PROGRAM = """
import subprocess, sys
started = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
started.stdout.readline()
print(started.pid, flush=True)
started.wait()
"""
WAITING = "import threading; print('ready', flush=True); threading.Event().wait()"
BOUND = "from miners.parent_death import end_with_parent; end_with_parent(); " + WAITING


def child_of_a_killed_parent(program: str) -> int:
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    return child


def test_a_bound_process_ends_when_its_parent_is_killed() -> None:
    assert are_gone([child_of_a_killed_parent(BOUND)])


def test_a_process_that_is_not_bound_stays() -> None:
    child = child_of_a_killed_parent(WAITING)
    try:
        assert is_running(child)
    finally:
        subprocess.run(["kill", str(child)], check=True)
