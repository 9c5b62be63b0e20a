#!/usr/bin/env bash
# A private Docker engine for tests, for root on a Debian 12 machine: no systemd and no image registry is needed.
#   engine.sh up     get it (Debian packages, unpacked beside the system) and start it; does nothing when it runs
#   engine.sh down   stop it, keep its images    engine.sh wipe   stop it and delete all it had
#   eval "$(engine.sh env)"   point docker, compose and buildx at it
set -euo pipefail
lab=${DOCKER_LAB:-/var/tmp/luthier-docker}
suite=trixie # Debian 12's own packages are too old: engine 20.10, Compose v1
root=$lab/root-$suite
here=$(cd "$(dirname "$0")" && pwd)
export DOCKER_HOST=unix://$lab/docker.sock DOCKER_CONFIG=$lab/config
export PATH=$lab/bin:$root/usr/bin:$root/usr/sbin:$PATH

say() { echo "engine: $*" >&2; }

possible() {
    [ "$(id -u)" = 0 ] || { say "only root can start one"; return 1; }
    [ -f /etc/apt/sources.list.d/debian.sources ] || { say "this is no Debian 12 machine"; return 1; }
}

get() {
    [ -x "$root/usr/sbin/dockerd" ] && command -v runc iptables mmdebstrap >/dev/null && return 0
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends runc iptables mmdebstrap >/dev/null
    local apt=$lab/apt
    mkdir -p "$apt"/{parts,lists/partial,cache/archives/partial,debs} "$lab/bin" "$DOCKER_CONFIG/cli-plugins"
    # This machine's own mirror, a newer suite, in lists of our own: the system's apt is left as it is.
    sed -E "s/^(Suites:) .*/\1 $suite/; /^#/d" /etc/apt/sources.list.d/debian.sources |
        awk 'BEGIN { RS = "" } NR == 1' >"$apt/parts/newer.sources"
    local options=(-oDir::Etc::sourcelist=/dev/null -oDir::Etc::sourceparts="$apt/parts" -oDir::State::Lists="$apt/lists"
        -oDir::Cache="$apt/cache" -oAPT::Sandbox::User=root -qq)
    apt-get "${options[@]}" update
    local packages=(docker.io docker-cli docker-compose docker-buildx containerd tini)
    cd "$apt/debs"
    rm -f ./*.deb
    apt-get "${options[@]}" download "${packages[@]}"
    for package in *.deb; do dpkg -x "$package" "$root"; done
    rm -f ./*.deb
    ln -sf "$root"/usr/libexec/docker/cli-plugins/* "$DOCKER_CONFIG/cli-plugins/"
}

start() {
    docker info >/dev/null 2>&1 && return 0
    mkdir -p "$lab"/{data,run,bin}
    install -m 755 "$here/nvidia-hook-standin.sh" "$lab/bin/nvidia-container-runtime-hook"
    local mtu
    mtu=$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)
    setsid nohup dockerd --host "$DOCKER_HOST" --data-root "$lab/data" --exec-root "$lab/run" --pidfile "$lab/dockerd.pid" \
        --mtu "$mtu" --default-network-opt "bridge=com.docker.network.driver.mtu=$mtu" >"$lab/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 240); do
        docker info >/dev/null 2>&1 && return 0
        sleep .25
    done
    say "dockerd did not start:"
    tail -30 "$lab/dockerd.log" >&2
    return 1
}

down() {
    local pid
    pid=$(cat "$lab/dockerd.pid" 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0 # a stale file names some other process
    kill "$pid"
    for _ in $(seq 240); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep .25
    done
    say "dockerd $pid does not stop"
    return 1
}

case ${1:-} in
    up) possible; get; start ;;
    down) down ;;
    wipe) down; rm -rf "$lab" ;;
    env) printf 'export DOCKER_HOST=%q DOCKER_CONFIG=%q DOCKER_LAB=%q PATH=%q\n' "$DOCKER_HOST" "$DOCKER_CONFIG" "$lab" "$PATH" ;;
    *) sed -n 2,5p "$0"; exit 2 ;;
esac
