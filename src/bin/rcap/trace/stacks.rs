//! The section "Stacks" of the report: the functions of the program that caused the checks.

use std::{
    io::{self, Write},
    path::Path,
};

use rcap::{
    tools::table::Table,
    trace::{
        Need,
        stack::{Frame, Stack},
    },
};

use crate::{Escaped, Stream};

/// Prints the stacks of needs. Nothing if there are none.
pub(super) fn print<'a>(needs: impl Iterator<Item = &'a Need>, out: &mut Stream) -> io::Result<()> {
    let mut needs = needs.filter(|need| !need.stacks.is_empty()).peekable();
    if needs.peek().is_some() {
        writeln!(out, "\nStacks, from the called function to its callers:")?;
    }
    for need in needs {
        let program = Path::new(&need.program).file_name().unwrap_or_default().to_string_lossy();
        let more = if need.has_more_stacks { ", and more stacks" } else { "" };
        let head = format!("{}: {} [{program}{more}]", need.cap, need.purpose());
        writeln!(out, "  {}", Escaped(head.as_bytes()))?;
        for (at, stack) in need.stacks.iter().enumerate() {
            if at > 0 {
                writeln!(out, "    or")?;
            }
            frames(stack, out)?;
        }
    }
    Ok(())
}

fn frames(stack: &Stack, out: &mut Stream) -> io::Result<()> {
    let mut table = Table::new(4);
    for frame in &stack.frames {
        let function = frame.function.as_deref().unwrap_or("?");
        table.row(&[&Escaped(function.as_bytes()), &Escaped(place(frame).as_bytes())]);
    }
    if !stack.is_whole {
        table.row(&[&"...", &"unknown callers"]);
    }
    table.write(out)
}

/// Returns the line of the source, or else the address in the file.
fn place(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) if frame.object.is_empty() => format!("{:#x}", frame.address),
        (None, _) => format!("{}+{:#x}", frame.object, frame.address),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places() {
        let place = |file, line, object| {
            let frame = json!({
                "object": object, "address": 4096, "function": null, "file": file, "line": line,
            });
            place(&serde_json::from_value(frame).unwrap())
        };
        for (file, line, object, want) in [
            (Some("/src/a.c"), Some(7), "/bin/a", "/src/a.c:7"),
            (Some("/src/a.c"), None, "/bin/a", "/src/a.c"),
            (None, None, "/bin/a", "/bin/a+0x1000"),
            (None, None, "", "0x1000"),
        ] {
            assert_eq!(place(file, line, object), want);
        }
    }
}
