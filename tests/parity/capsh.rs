//! Cases of capsh.

use super::{Case, Random, Twins, words};

/// Options of `capsh` that change or test something.
const STEPS: &[&str] = &[
    "--caps=",
    "--caps==ep",
    "--caps==p",
    "--caps=cap_setpcap,cap_kill=p",
    "--caps=cap_net_raw,cap_setpcap=eip",
    "--caps=cap_kill=i cap_chown+p",
    "--caps=cap_kill",
    "--caps=all=p",
    "--inh=",
    "--inh=none",
    "--inh=cap_kill,cap_net_raw",
    "--inh=all",
    "--inh=63",
    "--inh=cap_kill,",
    "--inh=cap_chown+p cap_kill",
    "--drop=cap_kill",
    "--drop=cap_net_raw,,cap_chown",
    "--drop=all",
    "--drop=63",
    "--drop=cap_kil",
    "--dropped=cap_kill",
    "--dropped=63",
    "--dropped=kill",
    "--strict",
    "--iab=!cap_kill,^cap_net_raw",
    "--iab=",
    "--iab=^cap_chown,%cap_kill",
    "--iab=!cap_chown",
    "--iab=cap_x",
    "--iab=all",
    "--addamb=cap_net_raw",
    "--addamb=cap_kill,cap_net_raw",
    "--addamb=all",
    "--addamb=",
    "--addamb=63",
    "--delamb=cap_net_raw",
    "--delamb=all",
    "--delamb=63",
    "--noamb",
    "--noamb=x",
    "--has-ambient",
    "--has-p=cap_kill",
    "--has-i=cap_kill",
    "--has-a=cap_net_raw",
    "--has-b=cap_kill",
    "--has-p=63",
    "--has-i=63",
    "--has-a=63",
    "--has-b=63",
    "--has-b=cap",
    "--supports=cap_bpf",
    "--supports=40",
    "--supports=41",
    "--supports=cap_x",
    "--decode=00000000a80425fb",
    "--decode=0x1",
    "--decode=8000020000000000",
    "--decode=zz",
    "--decode=10000000000000000",
    "--explain=41",
    "--explain=cap_chown",
    "--explain=cap_x",
    "--mode",
    "--modes",
    "--mode=NOPRIV",
    "--mode=PURE1E_INIT",
    "--mode=PURE1E",
    "--mode=HYBRID",
    "--mode=hybrid",
    "--mode=UNCERTAIN",
    "--inmode=HYBRID",
    "--inmode=PURE1E",
    "--inmode=UNCERTAIN",
    "--secbits=0",
    "--secbits=0x2f",
    "--secbits=0357",
    "--secbits=17",
    "--secbits=0x100",
    "--secbits=0x10000",
    "--secbits=1x",
    "--secbits=0x4",
    "--keep=0",
    "--keep=1",
    "--keep=2",
    "--keep=-1",
    "--no-new-privs",
    "--has-no-new-privs",
    "--uid=0",
    "--uid=1000",
    "--uid=-1",
    "--uid=4294967296",
    "--cap-uid=0",
    "--cap-uid=65534",
    "--gid=0",
    "--gid=7",
    "--gid=1x",
    "--groups=",
    "--groups=4,nogroup,5",
    "--groups=no-such-group",
    "--user=root",
    "--user=nobody",
    "--user=no-such-user",
    "--noenv",
    "--chroot=root",
    "--chroot=none",
    "--is-uid=0",
    "--is-uid=65534",
    "--is-uid=x",
    "--is-gid=0",
    "--is-gid=7",
    "--print",
    "--current",
    "--quiet",
    "--shell=/bin/sh",
    "--shell=/none",
    "--forkfor=0",
    "--forkfor=5 --killit=9",
    "--forkfor=5 --killit=15",
    "--killit=9",
    "--help",
    "--bogus",
    "--mod",
    "--modeX",
    "-x",
    "x",
    "",
];

/// Final options, which show the result.
const ENDS: &[&str] = &["", "--print", "--current", "--", "-+", "==", "=+"];

const SCRIPT: &str = "echo HOME=$HOME; echo USER=$USER; grep -E '^(Cap|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status; exit 3";

fn capsh_args(random: &mut Random, steps: &[&str]) -> Vec<String> {
    let mut args = Vec::new();
    for _ in 0..=random.below(5) {
        let step = random.pick(steps);
        match step.split_once(" --killit") {
            Some((fork, signal)) => {
                args.extend([fork.to_owned(), format!("--killit{signal}")]);
            }
            None => args.push(step.to_owned()),
        }
    }
    match random.pick(ENDS) {
        "" => {}
        end @ ("--" | "-+") => args.extend([end, "-c", SCRIPT].map(str::to_owned)),
        end @ ("==" | "=+") => args.extend([end, "--print"].map(str::to_owned)),
        end => args.push(end.to_owned()),
    }
    args
}

pub(crate) fn capsh_lines() {
    let mut random = Random(0x6c07_8965_d1e2_f3a4);
    let mut twins = Twins::new();
    for _ in 0..2000 {
        twins.run("capsh", &capsh_args(&mut random, STEPS), "");
    }
    for line in ["", "--help", "-h", "--print --help", "--quiet", "--", "-+", "==", "=+", "== ==="]
    {
        twins.run("capsh", &words(line), "");
    }
    twins.finish(
        2010,
        &[
            "errors-on-stderr",
            "explanations",
            "forkfor-0-without-help",
            "numbers-are-whole",
            "options-are-whole",
            "output-before-exec",
            "own-words",
            "securebits-of-exec",
            "usage-errors-have-a-reason",
            "what-the-kernel-lacks-is-absent",
        ],
    );
}

/// Steps that rarely fail, run as root.
pub(crate) fn capsh_lines_as_root() {
    let mut random = Random(0x1b87_3593_cc9e_2d51);
    let mut twins = Twins::new();
    let steps: Vec<_> = STEPS
        .iter()
        .copied()
        .filter(|step| {
            ["caps", "inh", "drop=cap", "iab", "addamb", "mode=", "secbits", "keep", "uid", "gid"]
                .iter()
                .chain(&["groups", "user", "chroot=root", "no-new", "strict", "noamb"])
                .any(|name| step.trim_start_matches("--").starts_with(name))
        })
        .collect();
    for _ in 0..2000 {
        twins.run("capsh", &capsh_args(&mut random, &steps), "");
    }
    let numbers = ["0x200", "0x300", "0x400", "0x800", "0xc00", "0xd00", "0xf00", "0xfef"];
    for number in numbers {
        twins.run("capsh", &[format!("--secbits={number}"), "--print".to_owned()], "");
    }
    let unset: [&[_]; 4] = [&[], &["HOME"], &["USER"], &["HOME", "USER"]];
    for unset in unset {
        for line in [
            "--user=nobody",
            "--user=root",
            "--user=nobody --user=root",
            "--noenv --user=nobody",
            "--user=nobody --noenv --user=root",
            "",
        ] {
            for end in ["--", "-+"] {
                let args = [words(line), [end, "-c", SCRIPT].map(str::to_owned).into()].concat();
                twins.compare(&Case { program: "capsh", args, input: String::new(), unset });
            }
        }
    }
    twins.finish(
        2056,
        &[
            "errors-on-stderr",
            "numbers-are-whole",
            "options-are-whole",
            "own-words",
            "securebits-of-exec",
            "user-environment",
        ],
    );
}
