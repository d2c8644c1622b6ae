#!/usr/bin/env bash
# Runs the same tests against the tools of two directories, as root: each test is a command line, the
# exit status and a line of the output.
#
#     tests/compliance.sh                 compare libcap's tools and ours with docs/compliance.md
#     tests/compliance.sh --write         write docs/compliance.md
#     tests/compliance.sh --run DIRECTORY print "pass" or "fail" and the name of each test
#
# The sources of the tests are named in their sections. The tests are written in this project's own
# words, from the behaviour that the sources check.
set -euo pipefail
cd "$(dirname "$0")/.."
script=$PWD/tests/compliance.sh

section() { printf 'section\t%s\n' "$1"; }

# test_ NAME STATUS PATTERN COMMAND: STATUS can be "fails"
test_() {
    local name=$1 want=$2 pattern=$3 status=0 shown result=pass
    rm -rf "$place"
    mkdir -m 755 "$place"
    shown=$(cd "$place" && timeout 10 bash -c "printf content >f; chmod +x f; $4" 2>&1 </dev/null) || status=$?
    if [ "$want" = fails ]; then
        # The status of timeout(1) and of signals is not an answer.
        [ $status -gt 0 ] && [ $status -lt 124 ] || result=fail
    else
        [ "$status" = "$want" ] || result=fail
    fi
    grep -qE -- "$pattern" <<<"$shown" || result=fail
    printf '%s\t%s\n' "$result" "$name"
    [ -z "${VERBOSE-}" ] || [ $result = pass ] || printf '%s: %s: %s\n' "$name" "$status" "$shown" >&2
}

tests() {
    place=$(mktemp -d)/place
    trap 'rm -rf "${place%/place}"' EXIT
    local effective='grep CapEff /proc/self/status'

    section "setcap(8) and getcap(8)"
    test_ "capabilities that were set are read back" 0 '^f cap_net_raw=ep$' 'setcap cap_net_raw+ep f; getcap f'
    test_ "a second setting replaces the first" 0 '^f cap_kill=p$' 'setcap cap_net_raw+ep f; setcap cap_kill=p f; getcap f'
    test_ "-r removes them" 0 '^end$' 'setcap cap_net_raw+ep f; setcap -r f; getcap f; echo end'
    test_ "-v accepts equal capabilities" 0 '^f: OK$' 'setcap cap_net_raw+ep f; setcap -v cap_net_raw=ep f'
    test_ "-v rejects different capabilities" fails 'f' 'setcap cap_net_raw+ep f; setcap -v cap_kill=ep f'
    test_ "-q with -v prints nothing" 0 '^end$' 'setcap cap_net_raw+ep f; setcap -q -v cap_net_raw=ep f; echo end'
    test_ "several files in one call" 0 '^g cap_kill=ep$' 'cp f g; setcap cap_chown+p f cap_kill+ep g; getcap f g'
    test_ "- reads the capabilities from standard input" 0 '^f cap_kill=ep$' 'echo cap_kill+ep | setcap - f >/dev/null; getcap f'
    test_ "a directory is refused" fails 'd' 'mkdir d; setcap cap_kill+ep d'
    test_ "a symbolic link is refused" fails 'l' 'ln -s f l; setcap cap_kill+ep l'
    test_ "a symbolic link leaves its target unchanged" 0 '^end$' 'ln -s f l; setcap cap_kill+ep l 2>/dev/null >&2; getcap f; echo end'
    test_ "a FIFO is refused at once" fails 'p' 'mkfifo p; setcap cap_kill+ep p'
    test_ "a missing file is an error" fails 'missing' 'setcap cap_kill+ep missing'
    test_ "an unknown name is an error, and the file is unchanged" 0 '^f cap_kill=ep$' 'setcap cap_kill+ep f; setcap cap_bogus+ep f >/dev/null 2>&1; getcap f'
    test_ "effective capabilities that are not permitted are an error" fails '' 'setcap cap_kill+e,cap_chown+p f'
    test_ "-n stores a root ID, and getcap -n prints it" 0 'cap_kill=ep \[rootid=1000\]$' 'setcap -n 1000 cap_kill+ep f; getcap -n f'
    test_ "getcap -v prints a file without capabilities" 0 '^f$' 'getcap -v f'
    test_ "getcap -r finds files in directories" 0 '^d/e/g cap_kill=ep$' 'mkdir -p d/e; cp f d/e/g; setcap cap_kill+ep d/e/g; getcap -r d'
    test_ "getcap -r does not follow links" 0 '^end$' 'mkdir d; setcap cap_kill+ep f; ln -s ../f d/l; getcap -r d; echo end'
    test_ "getcap names a missing file" 0 'missing' 'getcap missing; true'
    test_ "getcap fails if the output cannot be written" fails '' 'setcap cap_kill+ep f; getcap f >/dev/full'

    section "Files that lose or keep capabilities (xfstests)"
    test_ "writing to a file removes them" 0 '^end$' 'setcap cap_kill+ep f; echo more >>f; getcap f; echo end'
    test_ "truncating a file removes them" 0 '^end$' 'setcap cap_kill+ep f; : >f; getcap f; echo end'
    test_ "changing the owner removes them" 0 '^end$' 'setcap cap_kill+ep f; chown 65534 f; getcap f; echo end'
    test_ "renaming a file keeps them" 0 '^g cap_kill=ep$' 'setcap cap_kill+ep f; mv f g; getcap g'
    test_ "another hard link has them" 0 '^g cap_kill=ep$' 'setcap cap_kill+ep f; ln f g; getcap g'
    test_ "a copy does not have them" 0 '^end$' 'setcap cap_kill+ep f; cp f g; getcap g; echo end'
    test_ "changing the mode keeps them" 0 '^f cap_kill=ep$' 'setcap cap_kill+ep f; chmod 700 f; getcap f'

    section "Executed files (LTP, file capabilities)"
    local run='setpriv --reuid=65534 --regid=65534 --clear-groups'
    test_ "a user gets permitted and effective capabilities" 0 '0000000000002000$' "cp \$(command -v grep) g; setcap cap_net_raw+ep g; $run ./g CapEff /proc/self/status"
    test_ "permitted alone is not effective" 0 '0000000000000000$' "cp \$(command -v grep) g; setcap cap_net_raw+p g; $run ./g CapEff /proc/self/status"
    test_ "permitted alone is permitted" 0 '0000000000002000$' "cp \$(command -v grep) g; setcap cap_net_raw+p g; $run ./g CapPrm /proc/self/status"
    test_ "inheritable needs the process's set" 0 '0000000000000000$' "cp \$(command -v grep) g; setcap cap_net_raw+ei g; $run ./g CapPrm /proc/self/status"
    test_ "inheritable in both sets is permitted" 0 '0000000000002000$' "cp \$(command -v grep) g; setcap cap_net_raw+ei g; $run --inh-caps=+net_raw ./g CapPrm /proc/self/status"
    test_ "no_new_privs withholds them" 0 '0000000000000000$' "cp \$(command -v grep) g; setcap cap_net_raw+ep g; $run setpriv --no-new-privs ./g CapEff /proc/self/status"
    test_ "a missing capability of the bounding set stops an effective file" 126 'Operation not permitted' "cp \$(command -v grep) g; setcap cap_net_raw+ep g; $run --bounding-set=-net_raw ./g CapEff /proc/self/status"

    section "getpcaps(8)"
    test_ "process 1 has all capabilities" 0 '^1: =ep' 'getpcaps 1'
    test_ "a process of a user has none" 0 ': =$' "$run sleep 5 & sleep 0.3; getpcaps \$!"
    test_ "--iab shows a dropped capability" 0 '\[.*!cap_chown' 'setpriv --bounding-set=-chown sleep 5 & sleep 0.3; getpcaps --iab $!'
    test_ "a missing process is an error" fails '' 'getpcaps 4194304'
    test_ "another process is still printed" fails '^1: =ep' 'getpcaps 4194304 1'

    section "capsh(1) (libcap's quicktest)"
    test_ "--print shows the sets" 0 '^Current: ' 'capsh --print'
    test_ "--decode names a mask" 0 '^0x0*3=cap_chown,cap_dac_override$' 'capsh --decode=3'
    test_ "--supports knows a name" 0 '' 'capsh --supports=cap_chown'
    test_ "--supports rejects an unknown name" fails '' 'capsh --supports=cap_bogus'
    test_ "--has-p of a permitted capability" 0 '' 'capsh --has-p=cap_chown'
    test_ "--has-p of a missing capability" fails '' 'capsh --caps=cap_kill+ep --has-p=cap_chown'
    test_ "--drop removes from the bounding set" fails '' 'capsh --drop=cap_chown -- -c "setpriv --dump | grep -q chown && exit 0; exit 3"; test $? = 0'
    test_ "--caps limits the effective set" 0 'Current: cap_kill=ep$' 'capsh --caps=cap_kill+ep --print'
    test_ "--uid of a user loses capabilities" 0 '0000000000000000$' "capsh --uid=65534 -- -c '$effective'"
    test_ "--keep=1 keeps the permitted set" 0 '' 'capsh --keep=1 --uid=65534 --has-p=cap_chown'
    test_ "--user with an ambient capability passes it on" 0 '0000000000002000$' "capsh --user=nobody --inh=cap_net_raw --addamb=cap_net_raw -- -c '$effective'"
    test_ "--iab with an ambient capability passes it on" 0 '0000000000002000$' "capsh --user=nobody --iab='^cap_net_raw' -- -c '$effective'"
    test_ "--noamb clears the ambient set" 0 '0000000000000000$' "capsh --user=nobody --iab='^cap_net_raw' --noamb -- -c '$effective'"
    test_ "--secbits with noroot takes root's privilege away" 0 '0000000000000000$' "capsh --secbits=0x2f -- -c '$effective'"
    test_ "--mode=NOPRIV leaves no way back" fails '' 'capsh --mode=NOPRIV --drop=cap_chown --caps=cap_chown+ep'
    test_ "--mode shows the mode" 0 'NOPRIV' 'capsh --mode=NOPRIV --mode'
    test_ "--inmode compares it" fails '' 'capsh --inmode=PURE1E'
    test_ "--gid and --groups" 0 '^7 7 3 4$' "capsh --groups=3,4 --gid=7 -- -c 'echo \$(id -g) \$(id -G)'"
    test_ "--is-uid" fails '' 'capsh --is-uid=5'
    test_ "--chroot changes the root directory" 0 '^/$' "capsh --chroot=/ -- -c pwd"
    test_ "a missing --chroot is an error" fails '' 'capsh --chroot=/nonexistent -- -c true'
    test_ "== executes capsh again" 0 '^Bounding set =cap_dac_override' 'capsh --drop=cap_chown == --print'
    test_ "--explain describes a capability" 0 'chown|owner' 'capsh --explain=cap_chown'
    test_ "an unknown option is an error" fails '' 'capsh --bogus'
    test_ "a user ID of more than 32 bits is an error" fails '' 'capsh --uid=4294967296 --is-uid=0'
    test_ "a mask that is not a number is an error" fails '' 'capsh --decode=zz'
    test_ "no-new-privs is set for the program" 0 'NoNewPrivs:.1$' 'capsh --no-new-privs -- -c "grep NoNewPrivs /proc/self/status"'
}

if [ "${1-}" = --run ]; then
    export PATH=$2:$PATH
    tests
    exit
fi

theirs=$(dirname "$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v getcap)")
ours=$(mktemp -d)
made=$(mktemp)
trap 'rm -rf "$ours" "$made"' EXIT
cp ${RCAP:-target/debug/rcap} "$ours/rcap"
for tool in getcap setcap getpcaps capsh; do ln -s rcap "$ours/$tool"; done
version=$(dpkg-query -W -f '${Version}' libcap2-bin 2>/dev/null || echo unknown)
paste <("$script" --run "$theirs") <("$script" --run "$ours") | awk -F'\t' -v version="$version" '
    BEGIN {
        print "# Compliance\n"
        print "`tests/compliance.sh --write` makes this page: it runs the same tests against the tools of Debian'\''s libcap2-bin " version " and of rcap. The tests are written in own words; the heading of a section names their source. docs/libcap-differences.md gives the reasons for differences. tests/parity.rs compares several thousand more cases byte for byte."
    }
    $1 == "section" { rows = rows "\n## " $2 "\n\n| Test | libcap | rcap |\n|---|---|---|\n"; next }
    { gsub(/\|/, "\\|", $2); rows = rows "| " $2 " | " $1 " | " $3 " |\n"; n++; a += $1 == "pass"; b += $3 == "pass" }
    END { printf "\n| | libcap | rcap |\n|---|---|---|\n| Tests that pass, of %d | %d | %d |\n%s", n, a, b, rows }' >"$made"
if [ "${1-}" = --write ]; then
    cp "$made" docs/compliance.md
elif ! diff -I 'libcap2-bin' -u docs/compliance.md "$made"; then
    echo "the results differ from docs/compliance.md (tests/compliance.sh --write)"
    exit 1
fi
