//! A recording as text, the source of the files in tests/data.

use std::{fs, thread, time::Duration};

use super::*;

/// Prints the events of the command in `RCAP_EVENTS`, one per line, with the names of kernel
/// functions. Without the variable, prints nothing.
#[test]
#[expect(clippy::print_stdout, reason = "the output is the purpose")]
fn print_events() {
    let Some(words) = std::env::var_os("RCAP_EVENTS") else { return };
    let mut command = Command::new("sh");
    command.arg("-c").arg(words);
    let symbols = Symbols::load();
    let (mut recorder, backend) = Recorder::new(&Options::default()).unwrap();
    let mut child = recorder.start(command, &Launcher::new()).unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    println!("# Linux {}\n{} process {backend}", release.trim(), child.id());
    while child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let rest = recorder.stop().unwrap();
    for Event { tid, kind, .. } in rest.events {
        println!("{tid} {}", line(kind, &symbols));
    }
    println!("# lost: {:?}", rest.lost);
}

fn line(kind: EventKind, symbols: &Symbols) -> String {
    match kind {
        EventKind::Check(check) => {
            let granted = check.granted.map(|yes| if yes { "granted" } else { "refused" });
            let unaudited = if check.unaudited { " unaudited" } else { "" };
            let own = check.own_namespace.map(|own| format!(" of {own:x}")).unwrap_or_default();
            let names = check.stack.iter().filter_map(|address| symbols.name(*address));
            format!(
                "check {} {}{unaudited} {:x}{own} : {}",
                check.number,
                granted.unwrap_or("asked"),
                check.namespace,
                names.collect::<Vec<_>>().join(" "),
            )
        }
        EventKind::Answer { granted } => format!("answer {granted}"),
        EventKind::SystemCall { number, returned, .. } => format!("returned {number} {returned}"),
        EventKind::UserStack(user) => format!("stack {}", user.number),
        EventKind::Memory(change) => format!("{change:?}"),
        EventKind::Exec { path } => format!("exec {}", path.to_string_lossy()),
        EventKind::Started { tid } => format!("started {tid}"),
        EventKind::Ended => "ended".to_owned(),
    }
}
