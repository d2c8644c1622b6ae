//! `rcap save`: capabilities of files as a text that `rcap restore` reads.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Command, CommandFactory, Parser};

use super::{Exit, Io, chain};
use rcap::scan::saved::{self, Saving};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "save",
    about = "Save the capabilities of files as a text that rcap restore reads",
    override_usage = "rcap save [OPTION]... PATH...",
    after_help = "Example: rcap save / > caps.txt\n         rcap save --modes --root /mnt /mnt/usr > caps.txt"
)]
pub(crate) struct Request {
    /// Save set-user-ID and set-group-ID files too, and the mode and owner of each file
    #[arg(long)]
    modes: bool,
    /// Save the SHA-256 of each file, so that another content is not given the capabilities
    #[arg(long)]
    sha256: bool,
    /// Write paths relative to DIR [default: /]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Stay on the file system of each PATH
    #[arg(long)]
    one_file_system: bool,
    /// The files and directories; a directory is saved with everything in it
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

pub(crate) fn command() -> Command {
    Request::command()
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let request = match Request::try_parse_from(argv) {
        Ok(request) => request,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let mut saving = Saving::of_paths(request.paths);
    saving.root = request.root;
    saving.modes = request.modes;
    saving.sha256 = request.sha256;
    saving.one_file_system = request.one_file_system;
    match saved::save(&saving) {
        Ok((lines, errors)) => {
            io.out.write_all(saved::to_text(&lines).as_bytes())?;
            for err in &errors {
                io.complain_in_words("rcap save", &chain(err))?;
            }
            // A list that lacks a file is not one to restore from.
            Ok(if errors.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
        }
        Err(err) => {
            io.complain_in_words("rcap save", &chain(&err))?;
            Ok(Exit::FAILURE)
        }
    }
}
