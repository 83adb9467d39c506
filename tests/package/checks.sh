# What must hold of the installed package. To be sourced by run.sh.

journal() { inside journalctl --no-pager --unit authcoded.service; }

unit() { inside systemctl show --property="$1" --value authcoded.service; }

# apt as an administrator calls it; what they changed in the configuration stays.
apt_install() {
    cp "$1" "$root/root/given/authcoded.deb"
    inside apt-get -qq -y -o Dpkg::Options::=--force-confold --allow-downgrades install /root/given/authcoded.deb
}

set_up() {
    inside authcoded setup --yes --public-url "$CALLBACK" --endpoint "$MARKET" --access-key-from /run/market/access-key \
        --ak-from /run/market/ak --sk-from /run/market/sk
}

install_and_set_up() {
    files_of_root >"$scratch/files.before"
    must 'apt installs the previous package' apt_install "$scratch/previous.deb"
    must 'nothing runs before it is set up' inside sh -c '! systemctl is-active --quiet authcoded.service'
    start_market
    must 'setup --yes ends with a heartbeat that passes' set_up
    must 'service and socket are active' inside systemctl is-active --quiet authcoded.service authcoded-callback.socket
    must 'both start with the machine' inside systemctl is-enabled --quiet authcoded.service authcoded-callback.socket
    local before
    before=$(settings)
    must 'setup run again succeeds' set_up
    [[ $(settings) == "$before" ]] || fails 'setup run again changed something'
    holds 'and changes nothing'
    must 'doctor finds no fault' inside authcoded doctor
    buy 6
}

# Names, modes, times and contents of the configuration and the secrets.
settings() { inside sh -c 'cd /etc/authcoded && stat -c "%n %a %U %i %Y" * && sha256sum *'; }

runs_hardened() {
    local score pid status
    score=$(inside systemd-analyze security --no-pager authcoded.service | sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p')
    awk -v score="$score" 'BEGIN { exit !(score != "" && score <= 1.1) }' || fails "exposure is $score"
    holds "exposure is $score, at most 1.1"
    pid=$(unit MainPID)
    status=$(inside cat "/proc/$pid/status")
    local line
    for line in 'Seccomp: 2' 'NoNewPrivs: 1' 'CapEff: 0000000000000000' 'CapPrm: 0000000000000000' \
        'CapBnd: 0000000000000000' 'CapAmb: 0000000000000000'; do
        tr '\t' ' ' <<<"$status" | grep -qx "$line" || fails "the process has not: $line: $status"
    done
    holds 'the process: seccomp filters, no new privileges, no capability in any set'
    ! grep -q '^Uid:.0' <<<"$status" || fails 'the process is root'
    holds "the process runs as a user of its own ($(awk '/^Uid/ { print $2 }' <<<"$status"))"
    [[ $(inside stat -L -c %a /var/lib/authcoded) == 700 ]] || fails 'the state folder is open'
    [[ -z $(inside find /var/lib/private/authcoded -perm /077 -not -type d) ]] || fails 'a file of the state is open to others'
    holds 'the state folder has mode 0700, and no file in it is open to others'
}

keeps_its_secrets() {
    local file pid tried=0
    pid=$(unit MainPID)
    while read -r file; do
        inside test -e "$file" || fails "$file is not there"
        ! as_other cat "$file" >/dev/null 2>&1 || fails "somebody else reads $file"
        tried=$((tried + 1))
    done < <(inside sh -c 'find /etc/authcoded /run/credentials/authcoded.service /var/lib/private/authcoded -type f ! -name authcoded.toml'
        printf '/proc/%s/%s\n' "$pid" environ "$pid" mem "$pid" maps)
    ((tried >= 15)) || fails "only $tried files were tried"
    ! inside grep -qaFf /run/market/sk "/proc/$pid/environ" "/proc/$pid/cmdline" || fails 'the secret key is in the environment'
    journal >"$scratch/journal"
    ! grep -qFf <(inside cat /run/market/sk /run/market/access-key) "$scratch/journal" || fails 'a secret is in the journal'
    holds "secrets, credentials, state and memory: $tried files that nobody else reads; none in environment or journal"
}

# README's drop-in for whoever wants no secret in the clear on the disk.
takes_encrypted_credentials() {
    local name folder=/etc/systemd/system/authcoded.service.d
    inside mkdir -p "$folder"
    {
        printf '[Service]\nLoadCredential=\n'
        for name in access-key ak sk admin-token software-token; do
            inside systemd-creds encrypt --name="$name" "/etc/authcoded/$name" "/etc/authcoded/$name.cred" >/dev/null 2>&1 ||
                fails "systemd-creds cannot encrypt $name"
            printf 'LoadCredentialEncrypted=%s:/etc/authcoded/%s.cred\n' "$name" "$name"
        done
    } >"$root$folder/encrypted.conf"
    inside sh -c 'mkdir /run/clear && mv /etc/authcoded/access-key /etc/authcoded/ak /etc/authcoded/sk /run/clear'
    inside systemctl daemon-reload
    must 'it starts with encrypted credentials alone' inside systemctl restart authcoded.service
    must 'and its heartbeat passes' inside authcoded probe run
    inside sh -c "mv /run/clear/* /etc/authcoded && rm -r /run/clear /etc/authcoded/*.cred $folder && systemctl daemon-reload && systemctl restart authcoded.service"
}

answers_over_restarts() {
    local n pid before=''
    start_renewing "${codes[@]:0:4}"
    for ((n = 0; n < $1; n++)); do
        inside systemctl restart authcoded.service || fails "restart $n"
        pid=$(unit MainPID)
        [[ $pid != "$before" && $pid != 0 ]] || fails "restart $n: no new process"
        before=$pid
    done
    stop_renewing || fails 'the simulated marketplace failed'
    local told
    told=$(each_call_answered "${codes[@]:0:4}") || { printf '%s\n' "$told"; exit 1; }
    holds "$1 restarts under calls, none failed: $told"
    must 'every code is as the marketplace has it' inside authcoded drift
}

# A process that stands still answers nothing: the watchdog ends it, and its calls wait in the socket.
is_replaced_when_stopped() {
    local pid began code=${codes[4]}
    pid=$(unit MainPID)
    inside sh -c "kill -STOP $pid"
    began=$(date +%s%N)
    console POST "codes/$code/renew" >/dev/null
    wait_until 'another process runs' inside sh -c "pid=\$(systemctl show -p MainPID --value authcoded.service); [ \$pid != 0 ] && [ \$pid != $pid ] && systemctl is-active --quiet authcoded.service"
    holds "a stopped process was replaced after $((($(date +%s%N) - began) / 1000000)) ms ($(inside systemctl show -p NRestarts authcoded.service))"
    journal >"$scratch/journal"
    grep -q 'Watchdog timeout' "$scratch/journal" || fails 'it was not the watchdog'
    local told
    told=$(each_call_answered "$code") || { printf '%s\n' "$told"; exit 1; }
    holds "and failed no call: $told"
}

events() { inside authcoded log --limit 0 --json; }

keeps_its_data_over_an_upgrade() {
    local before code=${codes[5]}
    before=$(settings)
    events >"$scratch/events.before"
    inside authcoded license list --limit 0 --json | jq -S "[.[] | select(.code != \"$code\") | {code, state, expires_at, order_id}]" >"$scratch/codes.before"
    start_renewing "$code"
    must 'apt upgrades it under calls' apt_install "$scratch/new.deb"
    wait_until 'the new one answers' inside authcoded status
    stop_renewing || fails 'the simulated marketplace failed'
    local told
    told=$(each_call_answered "$code") || { printf '%s\n' "$told"; exit 1; }
    holds "the upgrade failed no call: $told"
    events >"$scratch/events.after"
    inside authcoded license list --limit 0 --json | jq -S "[.[] | select(.code != \"$code\") | {code, state, expires_at, order_id}]" >"$scratch/codes.after"
    cmp -s "$scratch/codes.before" "$scratch/codes.after" || fails 'codes differ after the upgrade'
    jq -en --slurpfile a "$scratch/events.before" --slurpfile b "$scratch/events.after" \
        '($a[0] | length) as $n | $n > 0 and $b[0][-$n:] == $a[0]' >/dev/null || fails 'events differ after the upgrade'
    [[ $(settings) == "$before" ]] || fails 'configuration or secrets differ after the upgrade'
    holds "codes, $(jq length "$scratch/events.before") events, configuration and secrets are what they were"
    [[ $(inside dpkg-query -W -f '${Version}' authcoded) == $(dpkg-deb --field "$scratch/new.deb" Version) ]] || fails 'the version is another'
    must 'doctor finds no fault after the upgrade' inside authcoded doctor
}

# README's recipe: root takes and restores the copy, and the daemon's own user must be able to go on with it.
restores_a_backup() {
    local units='authcoded-callback.socket authcoded.service'
    must 'a backup of the running daemon' inside authcoded backup /root/given/backup.db
    inside authcoded license list --limit 0 --json | jq -S '[.[] | {code, state, expires_at}]' >"$scratch/codes.before"
    inside sh -c "systemctl stop authcoded.service authcoded-callback.socket"
    ! inside authcoded doctor >"$scratch/doctor" || fails 'doctor finds no fault in a stopped unit'
    grep -Eq '^fail +unit' "$scratch/doctor" || fails "doctor does not name the stopped unit: $(<"$scratch/doctor")"
    holds 'doctor names the stopped unit'
    must 'a backup of the stopped one' inside authcoded backup /root/given/backup-2.db
    must 'restore' inside authcoded restore /root/given/backup.db
    must 'the daemon starts on what was restored' inside sh -c "systemctl start $units"
    wait_until 'it answers' inside authcoded status
    inside authcoded license list --limit 0 --json | jq -S '[.[] | {code, state, expires_at}]' >"$scratch/codes.after"
    cmp -s "$scratch/codes.before" "$scratch/codes.after" || fails 'codes differ after the restore'
    console POST "codes/${codes[5]}/renew" >/dev/null
    local told
    told=$(each_call_answered "${codes[5]}") || { printf '%s\n' "$told"; exit 1; }
    holds 'codes are what they were, and calls are answered on the restored database'
}

goes_and_leaves_nothing() {
    must 'apt remove' inside apt-get -qq -y remove authcoded
    inside sh -c 'test -s /etc/authcoded/sk && test -s /var/lib/private/authcoded/authcoded.db' || fails 'a removal took configuration or database'
    inside sh -c '! systemctl is-active --quiet authcoded.service authcoded-callback.socket' || fails 'it still runs'
    holds 'a removal keeps configuration, secrets and database, and stops the units'
    must 'apt purge' inside apt-get -qq -y purge authcoded
    inside systemctl stop market.service
    files_of_root >"$scratch/files.after"
    local left
    left=$(comm -13 "$scratch/files.before" "$scratch/files.after")
    [[ -z $left ]] || fails "a purge left: $left"
    left=$(inside sh -c 'ls -d /run/authcoded /run/credentials/authcoded* /run/systemd/system/*authcoded* /var/lib/systemd/*/*authcoded* 2>/dev/null; systemctl list-units --all --no-legend "*authcoded*"' || true)
    [[ -z $left ]] || fails "a purge left: $left"
    left=$(comm -23 "$scratch/files.before" "$scratch/files.after")
    [[ -z $left ]] || fails "a purge took what is not its own: $left"
    holds 'a purge leaves nothing and takes nothing else'
}
