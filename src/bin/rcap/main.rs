//! `rcap`: all commands in one program, selected by the first argument or by the program's name.

mod args;
mod check;
mod commands;
mod completions;
mod decode;
mod delegated;
mod diff;
mod explain;
mod export;
mod failure;
mod harden;
mod input;
mod man;
mod minimize;
mod new_file;
mod oci;
mod progress;
mod report;
mod restore;
mod run;
mod save;
mod scan;
mod service;
mod settings;
mod source;
mod suggest;
mod trace;
mod verify;
mod why;

use std::process::ExitCode;

use rcap::tools::{
    Escaped, Exit, Io, Place, Stream, chain, find_program, helper, json, most_alike, program,
};

fn main() -> ExitCode {
    rcap::tools::main(commands::run)
}
