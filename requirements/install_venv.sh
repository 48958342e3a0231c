#!/bin/sh
# Installs python3-venv with apt-get: Debian and Ubuntu leave venv out of their python3.
set -eu
if ! command -v apt-get >/dev/null; then
  echo "this Python has no venv and there is no apt-get; install its venv module and run make again" >&2
  exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "run as root: apt-get install python3-venv" >&2; exit 1; }
  sudo="sudo -n"
fi
apt_install() {
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends python3-venv </dev/null >&2
}
apt_install || { $sudo apt-get -q update >&2 && apt_install; }
