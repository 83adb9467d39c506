# README's install section, word for word. To be sourced by run.sh.

# The first block of commands under "## Install".
install_commands() { awk '/^## Install$/ { here = 1 } here && /^```$/ { exit } here && block { print } here && /^```sh$/ { block = 1 }' README.md; }

# The seller's two addresses are this root's own, over TLS that its certificates trust: the commands are
# then the same as for the real marketplace, and no option is added to them.
pretend_marketplace() {
    local names=mkt.myhuaweicloud.com,mkt.myhuaweicloud.cn pki=/run/pki
    printf '127.0.0.1 %s\n' "${names//,/ }" >>"$root/etc/hosts"
    inside sh -ec "mkdir -p $pki && cd $pki
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=trusted here' \
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=mkt -keyout key.pem -out request.pem
        printf 'subjectAltName=DNS:%s\n' $(printf '%s' "${names/,/,DNS:}") >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem
        cp ca.pem /usr/local/share/ca-certificates/here.crt
        update-ca-certificates" >"$scratch/pki.log" 2>&1 || fails "certificates: $(tail -n 3 "$scratch/pki.log")"
    # The marketplace is not part of what is installed, so its program lies elsewhere.
    dpkg-deb --fsys-tarfile "$scratch/new.deb" | tar -xO ./usr/bin/authcoded >"$root/root/marketplace"
    chmod 755 "$root/root/marketplace"
    inside systemd-run --quiet --unit=market /root/marketplace simulate --listen 127.0.0.1:443 --tls-cert $pki/cert.pem \
        --tls-key $pki/key.pem --no-dial-tests --data-dir /run/market --callback-url "$CALLBACK"
    wait_until 'the marketplace has its keys' inside test -s /run/market/sk
}

# What a person types: the address and the three secrets, each when it is asked for. Whoever types ahead has
# it swallowed by apt.
type_answers() {
    local answer
    while IFS=$'\t' read -r question answer; do
        wait_until "a question for $question" grep -q "$question.*: $" "$scratch/terminal" >&2
        printf '%s\n' "$answer"
    done <"$scratch/answers"
}

follow_the_readme() {
    local version commands began status=0
    pretend_marketplace
    version=$(dpkg-deb --field "$scratch/new.deb" Version)
    cp "$scratch/new.deb" "$root/root/authcoded_${version}_amd64.deb"
    commands=$(install_commands)
    [[ $commands == *'apt install'* && $commands == *'authcoded setup'* ]] || fails "README's install section has other commands: $commands"
    printf '%s\n' "$commands" | sed 's/^/        /'
    printf 'set -e\ncd /root\n%s\n' "$commands" >"$root/root/install.sh"
    printf '%s\t%s\n' 'The address that' "$CALLBACK" 'the access key' "$(inside cat /run/market/access-key)" \
        'the access key id' "$(inside cat /run/market/ak)" 'its secret access key' "$(inside cat /run/market/sk)" >"$scratch/answers"
    : >"$scratch/terminal"
    began=$(date +%s.%N)
    inside script --quiet --return --flush --command 'sh /root/install.sh' /dev/null < <(type_answers) >"$scratch/terminal" 2>&1 || status=$?
    local took
    took=$(awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f", to - from }')
    tail -n 22 "$scratch/terminal" | sed 's/^/        /'
    ((status == 0)) || fails "the commands ended with $status"
    ! grep -qFf <(inside cat /run/market/access-key /run/market/sk) "$scratch/terminal" || fails 'a secret was shown'
    must 'README, word for word: the daemon is active' inside systemctl is-active --quiet authcoded.service authcoded-callback.socket
    must 'the heartbeat passes' inside authcoded probe run
    holds "README's install section took $took s, with a person who types at once"
}
