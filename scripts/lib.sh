# What the scripts share. Sourced by bash, never run.

set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${TAPSTER_CACHE:-$TOP/.cache}
SERVERS=${TAPSTER_SERVERS:-$CACHE/servers}
BARMAN_VERSION=3.19.1
MAJORS="10 11 12 13 14 15 16 17 18"
# Versions that combine backups, and the programs for that.
TOOL_MAJORS="17 18"
TOOL_PROGRAMS="pg_combinebackup pg_verifybackup"

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The package version that holds the last minor release of a major version.
npm_version() {
    case $1 in
    10) echo 10.23.0-beta.6 ;;
    11) echo 11.22.1-beta.11 ;;
    12) echo 12.22.0-beta.15 ;;
    13) echo 13.23.0-beta.16 ;;
    14) echo 14.23.0-beta.17 ;;
    15) echo 15.18.0-beta.17 ;;
    16) echo 16.14.0-beta.17 ;;
    17) echo 17.10.0-beta.17 ;;
    18) echo 18.4.0-beta.17 ;;
    *) die "PostgreSQL $1 is not among $MAJORS" ;;
    esac
}

# The release of Debian that has a major version.
tool_suite() {
    case $1 in
    17) echo trixie ;;
    18) echo forky ;;
    *) die "no release of Debian is known for PostgreSQL $1" ;;
    esac
}

# Servers refuse to run as root. Prints the user that runs them: ourselves, unless we are root.
server_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a command as that user.
as_server_user() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
    else
        local user
        user=$(server_user)
        setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups -- "$@"
    fi
}

# Prints `root` and `sudo` users' way to root, or fails.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Installs packages of the distribution, without questions. Fails where that cannot be done.
apt_install() {
    have apt-get || return 1
    say "installing from the distribution: $*"
    local once
    for once in 1 2; do
        if as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >&2 </dev/null; then
            return 0
        fi
        # The lists of a fresh machine are empty or old.
        [ "$once" = 1 ] && { as_root apt-get -q -o DPkg::Lock::Timeout=300 update >&2 </dev/null || return 1; }
    done
    return 1
}

# Whether a folder holds a server that starts.
is_server_bin() {
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] && "$1/postgres" --version >/dev/null 2>&1
}

# The major version of the server in a folder of programs.
major_of() { "$1/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

# Folders in which distributions and people put server programs, newest version first.
installed_bins() {
    local bin
    { ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin 2>/dev/null || true; } | sort -rV
    if have pg_config; then pg_config --bindir; fi
    if bin=$(command -v postgres); then dirname "$(readlink -f "$bin")"; fi
}
