//! The command lines of `rcap scan`, `rcap check`, `rcap save` and `rcap restore`.

use std::{ffi::OsString, path::PathBuf};

use clap::Parser;

use super::Request;
use rcap::scan::Severity;

/// `rcap scan`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap scan [OPTION]... [PATH]...",
    after_help = "Without PATH, scan the whole machine. `rcap explain FINDING` explains a finding.\n\n\
                  Example: rcap scan\n         rcap scan --fail-on high /usr /opt\n         \
                  rcap scan --baseline known.txt --json"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct ScanRequest {
    /// Print one JSON document
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// Print one line of JSON for each entry and each finding
    #[arg(long, group = "format")]
    pub(crate) jsonl: bool,
    /// Print the findings as SARIF 2.1.0, for code scanning
    #[arg(long, group = "format")]
    pub(crate) sarif: bool,
    /// Print metrics for the textfile collector of node_exporter
    #[arg(long, group = "format")]
    pub(crate) prometheus: bool,
    /// Write a page for a browser to FILE, without requests to anything else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Exit with 1 if a finding is at least this severe: critical, high, medium, low, info
    #[arg(long, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<Severity>,
    /// Print only what is not in the baseline FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write everything that is known now to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) write_baseline: Option<PathBuf>,
    /// Leave out the findings that FILE accepts
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// Scan the unpacked system in DIR, with its own users
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Scan an image: a docker save archive, an OCI layout, or docker:NAME
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["root", "paths", "packages"])]
    pub(crate) image: Option<PathBuf>,
    /// Report what this process could do, and which ways to more privileges are open
    #[arg(long, conflicts_with_all = ["root", "image", "paths", "packages", "jsonl", "sarif", "prometheus", "html", "traces"])]
    pub(crate) here: bool,
    /// Compare units and containers with the reports of rcap trace in DIR, to find unused
    /// capabilities
    #[arg(long, value_name = "DIR", conflicts_with_all = ["root", "image", "paths"])]
    pub(crate) traces: Option<PathBuf>,
    /// Ask dpkg or rpm whether each file is as its package brought it
    #[arg(long)]
    pub(crate) packages: bool,
    /// Stay on the file system of each PATH
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// Leave out what matches: a whole path if GLOB has a slash, else a name
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<OsString>,
    /// Search with N threads [default: one per processor, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// The files and directories to search, without processes
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `rcap save`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap save [OPTION]... PATH...",
    after_help = "Example: rcap save / > caps.txt\n         rcap save --modes --root /mnt /mnt/usr > caps.txt"
)]
pub(crate) struct SaveRequest {
    /// Save set-user-ID and set-group-ID files too, and the mode and owner of each file
    #[arg(long)]
    pub(crate) modes: bool,
    /// Save the SHA-256 of each file, so that another content is not given the capabilities
    #[arg(long)]
    pub(crate) sha256: bool,
    /// Write paths relative to DIR [default: /]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Stay on the file system of each PATH
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// The files and directories; a directory is saved with everything in it
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// `rcap restore`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap restore [OPTION]... [FILE]",
    after_help = "Example: rcap restore --dry-run caps.txt\n         rcap restore --ensure < caps.txt"
)]
pub(crate) struct RestoreRequest {
    /// Check everything, print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Pass over files that are missing, as after an upgrade
    #[arg(long)]
    pub(crate) ensure: bool,
    /// Take paths relative to DIR [default: /]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The output of rcap save; standard input without it, or for -
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `rcap check`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap check [OPTION]... --policy POLICY SOURCE...",
    after_help = "Example: rcap check --policy pod-security-restricted deploy/\n         \
                  rcap check --policy policy.toml --junit deploy/ compose.yaml:web machine"
)]
pub(crate) struct CheckRequest {
    /// A TOML file, or pod-security-baseline, pod-security-restricted or pod-security-privileged
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: String,
    /// Print one JSON object
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// Print the violations as SARIF 2.1.0, for code scanning
    #[arg(long, group = "format")]
    pub(crate) sarif: bool,
    /// Print a test case of JUnit for each program
    #[arg(long, group = "format")]
    pub(crate) junit: bool,
    /// A directory, an archive of an image, `machine` for all processes, or a source as of `rcap
    /// export --from`
    #[arg(value_name = "SOURCE", required = true)]
    pub(crate) sources: Vec<String>,
}

impl Request for CheckRequest {}
impl Request for ScanRequest {}
impl Request for SaveRequest {}
impl Request for RestoreRequest {}
