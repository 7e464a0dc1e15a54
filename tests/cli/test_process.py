"""Ctrl-C at any time of the command line's process: one line, and exit code 130."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import mostly_heavy

ROOT = Path(__file__).parents[2]
# Sends SIGINT when a module is imported.
INTERRUPT_IMPORT = """
import os, signal, sys
module, *sys.argv = sys.argv[1:]
def interrupt(event, args):
    if event == "import" and args[0] == module:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
from pellucid.cli.process import run
run()
"""
# Runs a command whose work is the given code, which may call interrupt().
RUN_CODE = """
import atexit, os, signal, sys, threading, time
import pellucid.cli.process
from pellucid.cli import main, recipes
code = sys.argv.pop()
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
def handle(args):
    exec(code, {**globals()})
    return 0
recipes.handle = handle
pellucid.cli.process.run()
"""
INTERRUPTED_CODE = {
    "main thread": "interrupt(); time.sleep(20)",
    "code from a string": "exec('interrupt(); time.sleep(20)')",
    "an error of its own": """
try:
    interrupt(); time.sleep(20)
except KeyboardInterrupt as error:
    raise ImportError("numpy") from error
""",
    "a destructor": """
class Destructor:
    def __del__(self):
        interrupt(); time.sleep(1)
Destructor()
time.sleep(20)
""",
    "another thread": "threading.Thread(target=interrupt, daemon=True).start(); time.sleep(20)",
    "a wait for a thread": """
thread = threading.Thread(target=time.sleep, args=[20], daemon=True)
thread.start()
threading.Timer(0.1, interrupt).start()
thread.join()
""",
    "a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    threading.Timer(0.1, interrupt).start()
    list(pool.map(time.sleep, [0.2] * 4))
""",
    "an import": "import importlib; importlib.import_module('tests.cli.interrupting')",
    "the exit": "atexit.register(lambda: (interrupt(), time.sleep(20)))",
    "a loop": """
threading.Timer(0.1, interrupt).start()
while True:
    pass
""",
}


def run_script(script, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize("module", ["argparse", "pellucid.task", "pellucid.base.errors", "pellucid.base.text"])
def test_a_start_that_is_interrupted(module):
    result = run_script(INTERRUPT_IMPORT, module, "pellucid", "predict", "mnist-lenet", "none.png")
    assert (result.returncode, result.stderr) == (130, "pellucid: stopped by Ctrl-C\n")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["numpy", "torch", "torch._C", "torch._ops", "safetensors", "PIL.Image"])
@pytest.mark.parametrize(
    "command", mostly_heavy(["predict mnist-lenet none.png", "summary mnist-lenet", "train digits --out /none"], 3)
)
def test_an_import_of_a_library_that_is_interrupted(module, command):
    result = run_script(INTERRUPT_IMPORT, module, "pellucid", *command.split())
    assert (result.returncode, result.stderr) == (130, "pellucid: stopped by Ctrl-C\n")


@pytest.mark.parametrize("case", INTERRUPTED_CODE)
def test_a_command_that_is_interrupted(case):
    result = run_script(RUN_CODE, "recipes", INTERRUPTED_CODE[case])
    assert (result.returncode, result.stderr) == (130, "pellucid: stopped by Ctrl-C\n")


def test_a_finished_command_keeps_its_exit_code():
    """Objects are destroyed after the last exit function."""
    code = """
class Destructor:
    def __del__(self, interrupt=interrupt):
        interrupt()
sys.kept = Destructor()
"""
    result = run_script(RUN_CODE, "recipes", code)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_output_before_an_interruption_is_complete():
    result = run_script(RUN_CODE, "recipes", "print('a line'); import importlib; interrupt(); time.sleep(20)")
    assert (result.returncode, result.stdout) == (130, "a line\n")


@pytest.mark.slow
def test_the_module_is_run_as_a_process(tmp_path):
    command = [sys.executable, "-m", "pellucid", "train", "mnist-mlp", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)
    _, error_text = process.communicate(timeout=60)
    assert (process.returncode, error_text) == (130, "pellucid: stopped by Ctrl-C\n")


def test_a_command_that_ignores_interruptions_from_its_start_is_not_interrupted():
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + RUN_CODE
    result = run_script(script, "recipes", "interrupt(); print('finished')")
    assert (result.returncode, result.stdout) == (0, "finished\n")
