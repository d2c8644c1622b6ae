//! The requests, one for each command. The comments on the fields are the texts of `--help`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, ValueHint};
use clap_complete::Shell;

use rcap::{
    CapSet,
    securebits::Securebits,
    settings::{Engine, Format, Id, User},
};

use super::{
    Mistake, Request,
    measure::SettingsFormat,
    values::{self, Explained, Groups, ProfileName},
};
use crate::source::FORMS;

/// `rcap decode`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap decode [OPTION]... [TEXT]...",
    after_help = "Example: rcap decode 00000000a80425fb\n         \
                  rcap decode < /proc/self/status\n         \
                  rcap decode --encode net_raw,chown"
)]
pub(crate) struct DecodeRequest {
    /// Print the masks alone
    #[arg(long)]
    pub(crate) encode: bool,
    /// Read digits as a decimal number, not a hexadecimal one
    #[arg(long)]
    pub(crate) decimal: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// A mask, a line of /proc/PID/status, names with commas, or capability text
    /// [default: read standard input]
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
}

/// `rcap explain`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap explain [OPTION]... [CAPS]...",
    after_help = "Example: rcap explain net_raw\n         \
                  rcap explain --syscall bind\n         \
                  rcap explain --program ping"
)]
pub(crate) struct ExplainRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the capabilities that a system call can require, and when
    #[arg(long, conflicts_with_all = ["caps", "program"])]
    pub(crate) syscall: Option<String>,
    /// Print the capabilities that a program can need
    #[arg(long, value_name = "NAME", conflicts_with = "caps")]
    pub(crate) program: Option<String>,
    /// Names with commas, or the id of a finding of `rcap scan`
    /// [default: one line for each capability]
    #[arg(value_parser = values::explained)]
    pub(crate) caps: Vec<Explained>,
}

/// `rcap suggest`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap suggest [OPTION]... WORD...",
    after_help = "A suggestion is likely, not measured: `rcap trace` measures.\n\n\
                  Example: rcap suggest \"remove a file owned by someone else\"\n         \
                  rcap suggest netcat on port 80"
)]
pub(crate) struct SuggestRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// A task, an error message, or the name of a program or a capability
    #[arg(value_name = "WORD", required = true)]
    pub(crate) words: Vec<String>,
}

/// `rcap why`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap why [OPTION]... PROGRAM\n       \
                      rcap why [OPTION]... --from SOURCE [PROGRAM]\n       \
                      rcap why [OPTION]... --pid PID|--unit UNIT|--container ID [PROGRAM]",
    after_help = "Nothing is executed. The exit status is 0 if execve(2) would succeed, 1 if it \
                  would fail and 2 if that is not known.\n\n\
                  Example: rcap why --user nobody ping\n         \
                  rcap why --from compose.yaml:web /usr/bin/nc\n         \
                  rcap why --pid 1234"
)]
pub(crate) struct WhyRequest {
    /// Assume this user, by name or number; USER:GROUP too
    #[arg(long)]
    pub(crate) user: Option<User>,
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, conflicts_with = "pid",
          help = format!("Assume the settings of SOURCE: {FORMS}"))]
    pub(crate) from: Option<String>,
    /// Assume the credentials of a process; without a PROGRAM, explain where its capability sets
    /// come from
    #[arg(long, conflicts_with = "user")]
    pub(crate) pid: Option<u32>,
    /// The engine that reads SOURCE, as NAME or NAME@VERSION, such as docker@20.10 [default: the
    /// newest known]
    #[arg(long, requires = "from")]
    pub(crate) engine: Vec<Engine>,
    /// Assume the credentials of the first process of a running unit of systemd; without a PROGRAM,
    /// compare them with the unit's settings
    #[arg(long, conflicts_with_all = ["user", "from", "pid"])]
    pub(crate) unit: Option<String>,
    /// Assume the credentials of the first process of a running container, by its ID or its name in
    /// Docker or Podman; without a PROGRAM, compare them with the container's settings
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "from", "pid", "unit"])]
    pub(crate) container: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The program that would be executed; without it, that of SOURCE
    #[arg(required_unless_present_any = ["from", "pid", "unit", "container"])]
    pub(crate) program: Option<OsString>,
}

/// `rcap run`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap run [OPTION]... [--] PROGRAM [ARG]...",
    after_help = "rcap executes the program in its own place. Root starts with \
                  every capability that can be granted, unless --profile or --cap-add says \
                  otherwise, and a non-root user with none.\n\n\
                  Example: rcap run --user nobody --cap-add net_bind_service -- nc -l -p 80"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct RunRequest {
    /// Drop capabilities, or all
    #[arg(long, value_name = "CAPS", value_parser = values::caps)]
    pub(crate) cap_drop: Vec<CapSet>,
    /// Grant capabilities, or all
    #[arg(long, value_name = "CAPS", value_parser = values::caps)]
    pub(crate) cap_add: Vec<CapSet>,
    /// Grant exactly these capabilities
    #[arg(long, value_name = "CAPS", value_parser = values::caps,
          conflicts_with_all = ["cap_drop", "cap_add", "profile"])]
    pub(crate) cap_set: Vec<CapSet>,
    /// Start from the default capabilities of docker, podman, kubernetes-baseline or
    /// kubernetes-restricted
    #[arg(long, value_parser = values::profile)]
    pub(crate) profile: Option<ProfileName>,
    /// Run as this user, by name or number; USER:GROUP too
    #[arg(long)]
    pub(crate) user: Option<User>,
    /// Set the group, by name or number
    #[arg(long)]
    pub(crate) group: Option<Id>,
    /// Set the supplementary groups; an empty LIST sets none
    #[arg(long, value_name = "LIST", value_parser = values::groups)]
    pub(crate) groups: Option<Groups>,
    /// Set no_new_privs even if the program's file grants privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Leave no_new_privs unset, so that set-user-ID bits and file capabilities work
    #[arg(long, conflicts_with = "no_new_privs")]
    pub(crate) allow_new_privs: bool,
    /// Set securebits, by name
    #[arg(long, value_name = "LIST")]
    pub(crate) securebits: Option<Securebits>,
    /// Change the root directory
    #[arg(long, value_name = "PATH")]
    pub(crate) chroot: Option<PathBuf>,
    /// Change the working directory
    #[arg(long, value_name = "PATH")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set an environment variable: NAME=VALUE
    #[arg(long = "env", value_name = "VARIABLE", value_parser = values::variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// Print the privileges that the program would have, and do not run it
    #[arg(long)]
    pub(crate) print: bool,
    /// Read the capabilities back from the kernel, and kill the program if they differ
    #[arg(long)]
    pub(crate) verify: bool,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,
}

/// `rcap report`
#[derive(Debug, Parser)]
#[command(override_usage = "rcap report [OPTION]... FILE...")]
pub(crate) struct ReportRequest {
    /// Print the ignored checks in full too
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsFormat,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page for a browser to FILE, without requests to anything else
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
    /// Wait for running recordings to end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Reports written by `rcap trace --save` or `--json`; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `rcap oci-hook`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap oci-hook --save DIRECTORY < STATE",
    after_help = "A runtime calls it as a createRuntime hook, with the state of the container on \
                  standard input. The report is written when the container ends."
)]
pub(crate) struct HookRequest {
    /// Write the report to ID.json in this directory, which must exist
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) save: PathBuf,
}

/// `rcap oci-runtime`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap oci-runtime --save DIRECTORY -- RUNTIME [ARG]...",
    after_help = "Add it to /etc/docker/daemon.json, and restart the Docker daemon:\n\n  \
                  \"runtimes\": {\"rcap\": {\n    \"path\": \"/usr/local/bin/rcap\",\n    \
                  \"runtimeArgs\": [\"oci-runtime\", \"--save\", \"/var/lib/rcap\", \"--\", \"runc\"]\n  }}\n\n\
                  Example: docker run --runtime rcap --cidfile id IMAGE\n         \
                  rcap report --wait /var/lib/rcap/$(cat id).json"
)]
pub(crate) struct RuntimeRequest {
    /// Write the report to ID.json in this directory, which must exist
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) save: PathBuf,
    /// The runtime, such as runc, and its arguments
    #[arg(value_name = "RUNTIME", required = true, last = true)]
    pub(crate) runtime: Vec<OsString>,
}

/// `rcap export`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap export --to FORMAT [OPTION]... [CAPS]...",
    after_help = "The settings go to standard output, and warnings to standard error.\n\n\
                  Example: rcap export --to compose chown,net_raw\n         \
                  rcap export --to systemd --from compose.yaml:web"
)]
pub(crate) struct ExportRequest {
    /// Write settings for docker, podman, compose, compose-override, kubernetes, quadlet, label,
    /// oci, systemd, setcap, capsh, setpriv or json
    #[arg(long, value_name = "FORMAT", value_parser = values::format)]
    pub(crate) to: Format,
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, conflicts_with = "caps",
          help = format!("Convert the settings of SOURCE: {FORMS}"))]
    pub(crate) from: Option<String>,
    /// Grant them to this user, by name or number; USER:GROUP too [default: root]
    #[arg(long)]
    pub(crate) user: Option<User>,
    /// The engine that reads the settings, as NAME or NAME@VERSION, such as docker@20.10
    /// [default: the newest known]
    #[arg(long)]
    pub(crate) engine: Vec<Engine>,
    /// The service that compose-override changes
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The Compose file that compose-override is merged with; the export fails if the merged
    /// service has more than the source [default: the source]
    #[arg(long, value_name = "FILE")]
    pub(crate) base: Option<String>,
    /// Names with commas, or a mask [default: no capabilities]
    #[arg(value_parser = values::caps_or_mask)]
    pub(crate) caps: Vec<CapSet>,
}

/// `rcap diff`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap diff [OPTION]... SOURCE SOURCE...",
    after_help = "The exit status is 1 if the first source has something that another one lacks, 2 \
                  if a source cannot be read, and 0 otherwise.\n\n\
                  Example: rcap diff compose.yaml:web pid:1234\n         \
                  rcap diff old/ new/\n         \
                  rcap diff docker 'docker run --cap-drop ALL --cap-add CHOWN'"
)]
pub(crate) struct DiffRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The engine that reads the settings, as NAME or NAME@VERSION, such as docker@20.10
    /// [default: the newest known]
    #[arg(long)]
    pub(crate) engine: Vec<Engine>,
    #[arg(value_name = "SOURCE", num_args = 2.., required = true, help = FORMS)]
    pub(crate) sources: Vec<String>,
}

/// `rcap completions`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap completions [OPTION]... SHELL",
    after_help = "Example: rcap completions --install bash\n         \
                  rcap completions zsh > /usr/local/share/zsh/site-functions/_rcap"
)]
pub(crate) struct CompletionsRequest {
    /// Write the script to the directory where the shell finds it: for all users if you are root,
    /// and otherwise for you
    #[arg(long)]
    pub(crate) install: bool,
    /// Complete one of libcap's programs, not rcap
    #[arg(long = "for", value_name = "NAME", value_hint = ValueHint::CommandName,
          value_parser = ["getcap", "setcap", "getpcaps", "capsh", "captree"])]
    pub(crate) program: Option<String>,
    /// bash, zsh or fish
    #[arg(value_parser = values::shell)]
    pub(crate) shell: Shell,
}

/// `rcap man`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap man [COMMAND]",
    after_help = "Example: rcap man trace\n         \
                  rcap man trace > /usr/local/share/man/man8/rcap-trace.8"
)]
pub(crate) struct ManRequest {
    /// A command, or a page with its section, such as rcap.7 [default: rcap]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

impl Request for DecodeRequest {}
impl Request for ExplainRequest {}
impl Request for SuggestRequest {}
impl Request for WhyRequest {}
impl Request for RunRequest {}
impl Request for ReportRequest {}
impl Request for HookRequest {}
impl Request for RuntimeRequest {}

impl Request for ExportRequest {
    fn check(&self) -> Result<(), Mistake> {
        if self.base.is_some() && self.to != Format::ComposeOverride {
            return Err(Mistake::new("--base requires --to compose-override"));
        }
        Ok(())
    }
}

impl Request for DiffRequest {}
impl Request for CompletionsRequest {}
impl Request for ManRequest {}
