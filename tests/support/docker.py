"""The Docker engine that the environment offers, through the docker command."""

import functools
import os
import shutil
import subprocess

from exporter.demo.processes import is_running

# Everything that a test run starts bears this label with the run's process id, so that it can be removed.
LABEL = "pg-index-exporter-tests"
ANSWER_SECONDS = 20
_ID_AND_PID = f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'


@functools.cache
def why_no_engine() -> str | None:
    """Why no Docker engine can be used, or None when one answers."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    answer = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=ANSWER_SECONDS,
    )
    where = os.environ.get("DOCKER_HOST", "the default socket")
    return f"no Docker engine answers at {where}" if answer.returncode else None


@functools.cache
def has_image(image: str) -> bool:
    """Whether the engine already has `image`; nothing is pulled."""
    if why_no_engine() is not None:
        return False
    found = subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, check=False, timeout=ANSWER_SECONDS
    )
    return found.returncode == 0


def pull(image: str) -> bool:
    """Whether the engine could fetch `image` from its registry."""
    pulled = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, check=False)
    has_image.cache_clear()
    return pulled.returncode == 0


def run_label() -> str:
    """The label of what this run starts, as `docker run --label` takes it."""
    return f"{LABEL}={os.getpid()}"


def remove_leftovers() -> None:
    """Removes the containers and networks of this run and of runs that were killed."""
    if why_no_engine() is not None:
        return
    for kind, options in (("container", ["--all", "--no-trunc"]), ("network", ["--no-trunc"])):
        listed = run_docker(kind, "ls", *options, "--filter", f"label={LABEL}", "--format", _ID_AND_PID)
        for row in listed.splitlines():
            identifier, pid = row.split()
            # Workers leave the killed runs' to the process that started them: removed twice is an error.
            is_abandoned = "PYTEST_XDIST_WORKER" not in os.environ and not is_running(int(pid))
            if int(pid) == os.getpid() or is_abandoned:
                run_docker(kind, "rm", *(["--force", "--volumes"] if kind == "container" else []), identifier)


def run_docker(*arguments: str) -> str:
    """What `docker ARGUMENTS` says; its failure is the error's message."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
