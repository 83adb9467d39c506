# Bare Debian roots: made, booted, entered, ended. To be sourced by run.sh.

readonly SUITE=bookworm
# What a Debian 12 server has and the least variant lacks. CA certificates are what the package recommends.
readonly BESIDE=systemd,systemd-sysv,dbus,ca-certificates
nspawn='' leader='' root=''

# The mirror that this machine itself uses, so that nothing has to be named here.
mirror() {
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 2>/dev/null | awk -v suite="$SUITE" '$1 == suite { print $2; exit }'
}

make_base() {
    base=$1
    [[ ! -e $base/etc/debian_version ]] || return 0
    printf '== a bare Debian (%s) by debootstrap\n' "$SUITE"
    local source
    source=$(mirror)
    debootstrap --variant=minbase --include="$BESIDE" "$SUITE" "$base" ${source:+"$source"} >"$scratch/debootstrap.log" 2>&1 ||
        die "debootstrap failed:" "$(tail -n 5 "$scratch/debootstrap.log")"
    rm -f "$base"/var/cache/apt/archives/*.deb
}

begin_root() {
    printf '== root: %s\n' "$1"
    root=$scratch/$1
    cp -a --reflink=auto "$base" "$root"
    mkdir -p "$root/root/given"
    # An empty one is filled at the boot; without one the boot would ask at the console who it is.
    : >"$root/etc/machine-id"
}

# Boots the root as a machine of its own: its systemd is process 1, its network has loopback only. Where no
# systemd runs outside, nobody can register the machine or make a scope for it.
boot() {
    local alone=()
    [[ -d /run/systemd/system ]] || alone=(--register=no --keep-unit)
    systemd-nspawn --quiet --directory="$root" --machine="authcoded-$$" --hostname=license \
        --private-network --resolv-conf=off --timezone=off "${alone[@]}" --console=pipe --boot \
        </dev/null >"$scratch/console" 2>&1 &
    nspawn=$!
    local until=$((SECONDS + 60))
    until leader=$(pgrep -P "$nspawn" | head -n 1) && [[ $leader ]] && booted; do
        kill -0 "$nspawn" 2>/dev/null || die 'systemd-nspawn cannot boot a root here:' "$(tail -n 20 "$scratch/console")"
        ((SECONDS < until)) || die 'the root did not boot within 60 s:' "$(tail -n 20 "$scratch/console")"
        sleep 0.1
    done
    printf 'booted  systemd %s, %s\n' "$(inside systemctl --version | awk 'NR == 1 { print $2 }')" "$(inside cat /etc/debian_version)"
}

booted() { [[ $(inside systemctl is-system-running 2>/dev/null) == running ]]; }

# inside COMMAND...: as root of the booted machine, for five minutes at most.
inside() {
    timeout 300 nsenter --target "$leader" --all -- env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive TERM=dumb "$@"
}

# as_other COMMAND...: as somebody who is neither root nor the daemon.
as_other() { inside setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# SIGTERM lets nspawn ask the root's systemd to power off.
halt() {
    [[ $nspawn ]] || return 0
    local tries
    kill "$nspawn" 2>/dev/null || true
    for ((tries = 0; tries < 200; tries++)); do
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
    nspawn='' leader=''
}

end_root() {
    halt
    rm -rf --one-file-system "$root"
}

clean_up() {
    stop_renewing || true
    halt || true
    rm -rf --one-file-system "$scratch"
}

# Every file that a package could leave: what apt, dpkg, the journal and systemd keep for themselves is not.
files_of_root() {
    inside find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /root \
        -o -path /tmp -o -path /var/tmp -o -path /var/lib/systemd -o -path /etc/machine-id \) -prune -o -print | sort
}
